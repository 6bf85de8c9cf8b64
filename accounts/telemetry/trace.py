"""Request traces: the steps of a request, as they really happened. `accounts.diagram.svg` draws them.

They are recorded only if API_TRACE is on. A step holds a method, a path, a status, a generation and times, but never a
query, a header, a body or a cookie.
"""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from django.utils import timezone

from accounts.conf import conf
from accounts.telemetry.last_call import last_call
from accounts.telemetry.request_id import current_request_ids
from accounts.telemetry.spans import add_past_span, inner_span
from accounts.text import clean_text

_MAX_PATH = 200
_MAX_METHOD = 16
#: Streams can make many calls. Other steps are rare, and are always recorded.
_MAX_CALLS = 100
#: Longer than an id (a UUID has 36 characters), so it may be a token. The whole segment is removed.
_TOO_LONG_SEGMENT = re.compile(r"[^/]{37,}")


class StepKind(StrEnum):
    """The kind of a step. Session events are steps too, with the values of `accounts.models.EventKind`."""

    REQUEST = "request"  # from the browser
    OPENED = "opened"  # its cookie was decrypted; `generation` is the cookie's
    CALL = "call"  # to the API, with the user's token
    SIGN_IN = "sign-in"  # this and the next two are calls to the API's token endpoints
    REFRESH = "refresh"
    REVOCATION = "revocation"
    STILL_VALID = "still-valid"  # the API's response to a refresh
    WAITED = "waited"  # for another request that was rotating
    PAUSE = "pause"  # after a refresh without a usable response, no request refreshes for a moment
    ADOPTED = "adopted"  # the tokens that another request had got
    UPDATE_REFUSED = "hand-off-refused"  # stored, so it keeps its first name
    DEVICE_CHALLENGED = "device-challenged"  # the browser has to sign this challenge
    DEVICE_PROVEN = "device-proven"  # it did
    DEVICE_REFUSED = "device-refused"  # its proof is not valid
    COOKIE_SET = "cookie-set"
    COOKIE_DELETED = "cookie-deleted"
    ANSWER = "answer"  # the response's headers, and its body unless it is streamed
    BODY_SENT = "body-sent"  # of a streamed response, to its end
    BODY_LEFT = "body-left"  # the browser closed the connection before the end


#: The steps that are spans too, with the name of the span. Calls are spans of their own (`ReportedCall`).
_SPANS: dict[str, str] = {StepKind.WAITED: "wait", StepKind.ADOPTED: "adoption"}


class Step(NamedTuple):
    """One step. `at` is in milliseconds since the request arrived, `took` is its duration in milliseconds.

    A call without a response has no status. `times` counts equal calls with the same status and no other step in
    between; `took` is then their total.
    """

    kind: str
    at: float
    method: str = ""
    path: str = ""
    status: int | None = None
    took: float | None = None
    generation: int | None = None
    trigger: str = ""
    times: int = 1

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in self._asdict().items() if value != self._field_defaults.get(name)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Step":
        """Ignores fields that only a newer release knows."""
        return cls(**{name: value for name, value in data.items() if name in cls._fields})


#: The kind that this thread's calls to the API have at present.
_call_kind: ContextVar[StepKind] = ContextVar("call_kind", default=StepKind.CALL)


class Trace:
    """The steps of one request."""

    def __init__(self, method: str, path: str) -> None:
        self.id: UUID = uuid4()
        self.request_id = current_request_ids().request_id
        self.at: datetime = timezone.now()
        #: The session that the request came with, or that it began; None until the session is read.
        self.session_id: UUID | None = None
        #: Whether it is not stored: a request to the pages that show the traces.
        self.left_out = False
        self._arrived = time.monotonic()
        self._calls = 0
        self.steps = [Step(StepKind.REQUEST, 0.0, method=clean_text(method, _MAX_METHOD), path=redact_path(path))]

    def add(self, kind: str, *, since: float | None = None, trigger: str = "", **details: Any) -> None:
        """Add a step that happened just now, or lasted from `since` (time.monotonic()) until now.

        `details` are the fields `status` and `generation` of the step.
        """
        at, took = self._times(since)
        # Plain strings: a template would call the enumerations.
        self.steps.append(Step(str(kind), at, took=took, trigger=str(trigger), **details))

    def add_call(self, method: str, path: str, *, status: int | None, since: float) -> None:
        """Add a call to the API that lasted from `since` (time.monotonic()) until now."""
        at, took = self._times(since)
        call = Step(
            _call_kind.get().value,
            at,
            method=clean_text(method, _MAX_METHOD),
            path=redact_path(path),
            status=status,
            took=took,
        )
        last = self.steps[-1]
        if (last.kind, last.method, last.path, last.status) == (call.kind, call.method, call.path, call.status):
            took = round((last.took or 0.0) + (took or 0.0), 1)
            self.steps[-1] = last._replace(times=last.times + 1, took=took)
        elif self._calls < _MAX_CALLS:
            self._calls += 1
            self.steps.append(call)

    def in_order(self) -> list[Step]:
        """The steps by the time at which they began. A wait is added when it is over."""
        return sorted(self.steps, key=lambda step: step.at)

    def _times(self, since: float | None) -> tuple[float, float | None]:
        now = time.monotonic()
        if since is None:
            return _milliseconds(now - self._arrived), None
        return _milliseconds(since - self._arrived), _milliseconds(now - since)


_current: ContextVar[Trace | None] = ContextVar("trace", default=None)


def begin_trace(method: str, path: str) -> Trace:
    """Record the steps of this thread as those of a new request."""
    trace = Trace(method, path)
    _current.set(trace)
    return trace


def end_trace() -> None:
    """Stop recording the steps of this thread."""
    _current.set(None)


def add_step(kind: str, *, since: float | None = None, trigger: str = "", **details: Any) -> None:
    """See `Trace.add`. Does nothing if no trace is being recorded. A wait and an adoption are spans, too."""
    if conf.spans and kind in _SPANS:
        add_past_span(_SPANS[kind], since=since, generation=details.get("generation"))
    trace = _current.get()
    if trace is not None:
        trace.add(kind, since=since, trigger=trigger, **details)


def add_call(method: str | None, path: str, *, status: int | None, since: float) -> None:
    """See `Trace.add_call`. `status` is None if there was no complete response."""
    note_call(method, path, status)
    trace = _current.get()
    if trace is not None:
        trace.add_call(method or "", path, status=status, since=since)


def note_call(method: str | None, path: str, status: int | None) -> None:
    """With DEBUG, make this the request's last call. A revocation does not count: no page fails because of it."""
    call = last_call()
    if call is not None and _call_kind.get() is not StepKind.REVOCATION:
        call.method, call.path, call.status = method or "", redact_path(path), status


def trace_session(session_id: UUID) -> None:
    """Record that the request belongs to this session."""
    trace = _current.get()
    if trace is not None:
        trace.session_id = session_id


@contextmanager
def label_api_calls(kind: StepKind) -> Iterator[None]:
    """Calls to the API inside the block are of this kind, and below a span with this name. Also a decorator."""
    before = _call_kind.set(kind)
    try:
        with inner_span(kind.value):
            yield
    finally:
        _call_kind.reset(before)


def redact_path(path: str) -> str:
    """A path that is safe to show: without its query, and without a segment that may be a token."""
    path = _TOO_LONG_SEGMENT.sub("…", path.partition("?")[0].partition("#")[0])
    return clean_text(path, _MAX_PATH)


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 1)
