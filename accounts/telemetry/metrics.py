"""Prometheus metrics. They are off unless METRICS_TOKEN or METRICS_ALLOW says who may read them.

No label identifies a user, a session or a path. Its values come from the short lists below; key ids from the key ring.
"""

from collections.abc import Iterable
from typing import Any

from prometheus_client import Counter, Histogram

from accounts.conf import conf
from accounts.session.sealing import key_ids, sealing_key_id
from accounts.telemetry.metrics_folder import share_metrics

share_metrics()

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_BYTES = (1024, 2048, 3072, 4096, 6144, 8192, 12288, 16384)

ROTATIONS = Counter(
    "api_session_rotations", "Attempts to get a newer token pair for a session, by outcome.", ["outcome", "trigger"]
)
REFRESH_SECONDS = Histogram(
    "api_session_refresh_seconds", "Duration of refreshes at the API.", ["outcome"], buckets=_SECONDS
)
FOLLOWER_SECONDS = Histogram(
    "api_session_follower_wait_seconds",
    "Time that requests waited for another request to rotate their session, in this process or in another.",
    ["where"],
    buckets=_SECONDS,
)
SESSION_UPDATES = Counter(
    "api_session_updates", "Session updates: sealed sessions sent to the browser in a streamed body.", ["outcome"]
)
STARTED = Counter("api_session_started", "Sign-ins.")
ENDED = Counter("api_session_ended", "Sessions that ended.", ["reason"])
SIGN_INS_NOT_TRIED = Counter(
    "api_session_sign_ins_not_tried", "Sign-ins refused unasked after too many failures; staff sign-ins too."
)
DEVICES = Counter(
    "api_session_devices",
    "Sessions bound to devices, proofs of devices, and requests without such a proof.",
    ["outcome"],
)
COOKIE_BYTES = Histogram(
    "api_session_cookie_bytes", "Size of the sealed session in the cookies that were set.", buckets=_BYTES
)
COOKIES_OPENED = Counter("api_session_cookies_opened", "Session cookies decrypted, by the id of their key.", ["key_id"])
CALLS = Histogram(
    "api_call_seconds",
    "Duration of calls to the API; of a streamed one until the headers.",
    ["status"],
    buckets=_SECONDS,
)
TOKEN_CALLS = Histogram(
    "api_token_call_seconds",
    "Duration of calls to the API or the provider for sign-ins, refreshes and revocations.",
    ["status"],
    buckets=_SECONDS,
)

# Maps an event's kind to the label's value. An event of any other kind ends a session, and its kind is the reason.
_ROTATION_OUTCOMES = {"rotated": "rotated", "unstored": "unstored", "adopted": "adopted", "api-away": "api-away"}
_UPDATE_OUTCOMES = {"handed-off": "sent", "handed-over": "taken"}
#: A session was bound; a proof was accepted or refused; a request had no proof, and was not served.
DEVICE_OUTCOMES = ("bound", "proven", "refused", "unproven")
_STATUSES = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")


def start_at_zero(*, reasons: Iterable[str], triggers: Iterable[str]) -> None:
    """Give each series a first value of 0. Prometheus sees no increase in a series that begins with 1.

    `reasons` are all reasons for the end of a session, `triggers` all reasons for a rotation. A count that a worker
    continues (see `metrics_folder`) keeps its value.
    """
    if not conf.metrics:
        return
    ROTATIONS.labels("adopted", "none")
    for outcome in ("rotated", "unstored", "api-away"):
        REFRESH_SECONDS.labels(outcome)
        for trigger in triggers:
            ROTATIONS.labels(outcome, trigger)
    for where in ("process", "elsewhere"):
        FOLLOWER_SECONDS.labels(where)
    for outcome in ("sent", "taken", "refused"):
        SESSION_UPDATES.labels(outcome)
    for outcome in DEVICE_OUTCOMES:
        DEVICES.labels(outcome)
    for reason in reasons:
        ENDED.labels(reason)
    for key_id in key_ids():
        COOKIES_OPENED.labels(key_id)
    for status in _STATUSES:
        CALLS.labels(status)
        TOKEN_CALLS.labels(status)


def count_event(sender: Any, event: Any, **_: Any) -> None:
    """Count a session event. A receiver of the signal `session_event`."""
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
    elif kind == "bound":
        count_device(kind)
    elif kind not in ("confirmed", "unproven"):
        ENDED.labels(kind).inc()


def count_device(outcome: str) -> None:
    """Count one of DEVICE_OUTCOMES."""
    if conf.metrics:
        DEVICES.labels(outcome).inc()


def count_sign_in_not_tried() -> None:
    """Count a sign-in that was refused because too many before it had failed."""
    if conf.metrics:
        SIGN_INS_NOT_TRIED.inc()


def count_refused_update() -> None:
    """Count a session update that its endpoint did not accept."""
    if conf.metrics:
        SESSION_UPDATES.labels("refused").inc()


def time_follower(seconds: float, *, where: str) -> None:
    """Record how long a request waited for another one's rotation: `where` is "process" or "elsewhere"."""
    if conf.metrics:
        FOLLOWER_SECONDS.labels(where).observe(seconds)


def time_call(status: int | None, seconds: float) -> None:
    """Record the duration of a call of `request.api`; `status` is None if there was no response."""
    if conf.metrics:
        CALLS.labels(_status_class(status)).observe(seconds)


def time_token_call(status: int | None, seconds: float) -> None:
    """Record the duration of a call for a sign-in, a refresh or a revocation; `status` as in `time_call`."""
    if conf.metrics:
        TOKEN_CALLS.labels(_status_class(status)).observe(seconds)


def _status_class(status: int | None) -> str:
    # A status above 599 is invalid, and counts as a 5xx (RFC 9110 section 15).
    return "none" if status is None else _STATUSES[min(status // 100, 5)]


def measure_cookie(size: int) -> None:
    """Record the size of a session in its cookies: `size` bytes altogether."""
    if conf.metrics:
        COOKIE_BYTES.observe(size)


def count_opened_cookie(text: str) -> None:
    """Count a decrypted cookie, whose sealed text was `text`."""
    if conf.metrics:
        COOKIES_OPENED.labels(sealing_key_id(text)).inc()
