"""What really happens while a request is answered, step by step, to be drawn (`accounts.diagram.svg`).

Only where API_TRACE is on; else a step costs a look-up. Steps hold methods, paths, statuses, generations and times.
Never a query, a header, a body or a cookie.
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

from accounts.telemetry.request_id import current_request_ids
from accounts.text import clean_text

_MAX_PATH = 200
_MAX_METHOD = 16
#: Streams go on for long. What is no call is always noted: it is rare, and it is what one wants to see.
_MAX_CALLS = 100
#: Longer than an id is, as tokens are. All of it goes: the beginning of a token is a part of it.
_TOO_LONG_SEGMENT = re.compile(r"[^/]{37,}")


class StepKind(StrEnum):
    """What a step is. What happens to the session itself has the names of `accounts.models.EventKind` besides."""

    REQUEST = "request"  # of the browser
    OPENED = "opened"  # its cookie; `generation` is what it presented
    CALL = "call"  # of the API, in the user's name
    SIGN_IN = "sign-in"  # these three are calls of the API's own sign-in machinery
    REFRESH = "refresh"
    REVOCATION = "revocation"
    STILL_VALID = "still-valid"  # the API's answer to a refresh
    WAITED = "waited"  # for another request that was rotating
    PAUSE = "pause"  # after somebody's refresh without a usable answer: nobody asks again for a moment
    ADOPTED = "adopted"  # what another request had got
    UPDATE_REFUSED = "update-refused"
    COOKIE_SET = "cookie-set"
    COOKIE_DELETED = "cookie-deleted"
    ANSWER = "answer"  # its headers; and all of it, unless it is streamed
    BODY_SENT = "body-sent"  # of a streamed answer, to its end
    BODY_LEFT = "body-left"  # the browser did not wait for the end


class Step(NamedTuple):
    """One thing that happened. `at` is milliseconds since the request arrived, `took` how many it took.

    A call that got no answer has no status. `times` says how often it was repeated with the same answer, without
    anything in between; `took` is then the time of all.
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
        """What a newer release knows besides is left out."""
        return cls(**{name: value for name, value in data.items() if name in cls._fields})


class Trace:
    """The steps of one request."""

    def __init__(self, method: str, path: str) -> None:
        self.id: UUID = uuid4()
        self.request_id = current_request_ids().request_id
        self.at: datetime = timezone.now()
        #: The session that the request came with, or that it began; None while nobody has looked.
        self.session_id: UUID | None = None
        #: Whether nobody wants to see it: a request of those who look at the drawings.
        self.left_out = False
        #: What calls of the API are for at present.
        self.label_api_calls = StepKind.CALL
        self._arrived = time.monotonic()
        self._calls = 0
        self.steps = [Step(StepKind.REQUEST, 0.0, method=clean_text(method, _MAX_METHOD), path=redact_path(path))]

    def add(
        self,
        kind: str,
        *,
        status: int | None = None,
        since: float | None = None,
        generation: int | None = None,
        trigger: str = "",
    ) -> None:
        """Note what happened just now, or from `since` (time.monotonic()) until now."""
        at, took = self._times(since)
        # Not the enumerations themselves: a template would call them.
        self.steps.append(Step(str(kind), at, status=status, took=took, generation=generation, trigger=str(trigger)))

    def add_call(self, method: str, path: str, *, status: int | None, since: float) -> None:
        """Note a call of the API, from `since` (time.monotonic()) until now."""
        at, took = self._times(since)
        call = Step(
            self.label_api_calls.value,
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
        """The steps by the time at which they began: a wait is noted when it is over."""
        return sorted(self.steps, key=lambda step: step.at)

    def _times(self, since: float | None) -> tuple[float, float | None]:
        now = time.monotonic()
        if since is None:
            return _milliseconds(now - self._arrived), None
        return _milliseconds(since - self._arrived), _milliseconds(now - since)


_current: ContextVar[Trace | None] = ContextVar("trace", default=None)


def begin_trace(method: str, path: str) -> Trace:
    """From now on the steps of this thread are those of this request."""
    trace = Trace(method, path)
    _current.set(trace)
    return trace


def end_trace() -> None:
    """What this thread does from now on is not drawn."""
    _current.set(None)


def add_step(
    kind: str,
    *,
    status: int | None = None,
    since: float | None = None,
    generation: int | None = None,
    trigger: str = "",
) -> None:
    """See `Trace.add`. Does nothing where nothing is traced."""
    trace = _current.get()
    if trace is not None:
        trace.add(kind, status=status, since=since, generation=generation, trigger=trigger)


def add_call(method: str | None, path: str, *, status: int | None, since: float) -> None:
    """A call of the API that began at `since` (time.monotonic()); `status` None where no whole answer came."""
    trace = _current.get()
    if trace is not None:
        trace.add_call(method or "", path, status=status, since=since)


def trace_session(session_id: UUID) -> None:
    """This request is one of that session's."""
    trace = _current.get()
    if trace is not None:
        trace.session_id = session_id


@contextmanager
def label_api_calls(kind: StepKind) -> Iterator[None]:
    """What is called in here is for that. Also a decorator."""
    trace = _current.get()
    if trace is None:
        yield
        return
    before, trace.label_api_calls = trace.label_api_calls, kind
    try:
        yield
    finally:
        trace.label_api_calls = before


def redact_path(path: str) -> str:
    """A path to be shown: without its query, in which anything may be, and without what could be a token."""
    path = _TOO_LONG_SEGMENT.sub("…", path.partition("?")[0].partition("#")[0])
    return clean_text(path, _MAX_PATH)


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 1)
