"""What is counted and timed for Prometheus. Nothing is, unless METRICS_TOKEN or METRICS_ALLOW says who may read it.

No label tells of a user, a session or a path: all values come from the short lists below, a key id from the key ring.
"""

from typing import Any

from prometheus_client import Counter, Histogram

from accounts.conf import conf
from accounts.session.sealing import sealing_key_id

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_BYTES = (1024, 2048, 3072, 4096, 6144, 8192, 12288, 16384)

ROTATIONS = Counter(
    "api_session_rotations",
    "Ways in which a session got a newer token pair, or did not.",
    ["outcome", "trigger"],
)
REFRESH_SECONDS = Histogram(
    "api_session_refresh_seconds", "What a refresh took at the API.", ["outcome"], buckets=_SECONDS
)
FOLLOWER_SECONDS = Histogram(
    "api_session_follower_wait_seconds",
    "How long requests waited for another one that was rotating their session, in this process or in another.",
    ["where"],
    buckets=_SECONDS,
)
SESSION_UPDATES = Counter(
    "api_session_updates", "Sessions that went to the browser in the body of a stream.", ["outcome"]
)
STARTED = Counter("api_session_started", "Sign-ins.")
ENDED = Counter("api_session_ended", "Sessions that ended.", ["reason"])
SIGN_INS_NOT_TRIED = Counter(
    "api_session_sign_ins_not_tried", "Sign-ins that were refused unasked, as too many had failed; staff's too."
)
COOKIE_BYTES = Histogram(
    "api_session_cookie_bytes", "The size of the sealed session in the cookies written.", buckets=_BYTES
)
COOKIES_OPENED = Counter(
    "api_session_cookies_opened", "Session cookies opened, by the id of the key that sealed them.", ["key_id"]
)
CALLS = Histogram(
    "api_call_seconds", "Calls to the API, until their headers or their end.", ["status"], buckets=_SECONDS
)

# An event's kind, and what it is here. Whatever else an event's kind is, it is the reason for a session's end.
_ROTATION_OUTCOMES = {"rotated": "rotated", "unstored": "unstored", "adopted": "adopted", "api-away": "api-away"}
_UPDATE_OUTCOMES = {"handed-off": "sent", "handed-over": "taken"}
_UNCOUNTED = {"confirmed"}


def count_event(sender: Any, event: Any, **_: Any) -> None:
    """A session event (a receiver of `session_event`)."""
    if not conf.metrics:
        return
    kind = str(event.kind)
    if kind in _ROTATION_OUTCOMES:
        ROTATIONS.labels(_ROTATION_OUTCOMES[kind], str(event.trigger) or "none").inc()
        if event.duration_ms is not None:
            REFRESH_SECONDS.labels(_ROTATION_OUTCOMES[kind]).observe(event.duration_ms / 1000)
    elif kind in _UPDATE_OUTCOMES:
        SESSION_UPDATES.labels(_UPDATE_OUTCOMES[kind]).inc()
    elif kind == "signed-in":
        STARTED.inc()
    elif kind not in _UNCOUNTED:
        ENDED.labels(kind).inc()


def count_sign_in_not_tried() -> None:
    """Too many had failed before it."""
    if conf.metrics:
        SIGN_INS_NOT_TRIED.inc()


def count_refused_update() -> None:
    """The deferred-update endpoint did not take one."""
    if conf.metrics:
        SESSION_UPDATES.labels("refused").inc()


def time_follower(seconds: float, *, where: str) -> None:
    """A request waited for another one's rotation: `where` is "process" or "elsewhere"."""
    if conf.metrics:
        FOLLOWER_SECONDS.labels(where).observe(seconds)


def time_call(status: int | None, seconds: float) -> None:
    """A call to the API ended; `status` is None where no answer came."""
    if conf.metrics:
        CALLS.labels("none" if status is None else f"{status // 100}xx").observe(seconds)


def measure_cookie(size: int) -> None:
    """A session was written into cookies, of `size` bytes altogether."""
    if conf.metrics:
        COOKIE_BYTES.observe(size)


def count_opened_cookie(text: str) -> None:
    """A cookie with this sealed `text` was opened."""
    if conf.metrics:
        COOKIES_OPENED.labels(sealing_key_id(text)).inc()
