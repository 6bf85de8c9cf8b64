"""Storing the trace of each request in the database, so that each process of the site can show it."""

from collections.abc import Iterable, Iterator
from contextlib import suppress

from django.db import DatabaseError
from django.http import HttpResponseBase, StreamingHttpResponse

from accounts.history.background_writer import BackgroundWriter, write_until_exit
from accounts.models import TracedRequest
from accounts.telemetry.trace import StepKind, Trace, end_trace

#: The number of newest requests that are kept for each session.
KEPT_REQUESTS = 20
_ROOM = 1_000


class TracedRequestWriter(BackgroundWriter[TracedRequest]):
    """Writes traced requests, and deletes all but the newest ones of each session."""

    def __init__(self) -> None:
        super().__init__(TracedRequest, room=_ROOM)

    def insert(self, batch: list[TracedRequest], database: str) -> None:
        super().insert(batch, database)
        # If this fails, the next batch deletes them. An error would have the batch written twice.
        with suppress(DatabaseError):
            for session_id in {row.session_id for row in batch}:
                # A streamed request has two rows.
                TracedRequest.objects.using(database).forget_older(session_id, kept=2 * KEPT_REQUESTS)


trace_writer = TracedRequestWriter()
write_until_exit(trace_writer)


def finish_trace(trace: Trace, response: HttpResponseBase) -> HttpResponseBase:
    """Record that the response is sent, and queue the trace; for a streamed response, again when its body ends."""
    trace.add(StepKind.ANSWER, status=response.status_code)
    _write(trace)
    if isinstance(response, StreamingHttpResponse) and not response.is_async:
        response.streaming_content = _traced(trace, response.streaming_content)  # type: ignore[arg-type]
    else:
        end_trace()
    return response


def _traced(trace: Trace, body: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the body unchanged. Its steps belong to the trace, which is queued again when the body ends."""
    end = StepKind.BODY_LEFT
    try:
        yield from body
        end = StepKind.BODY_SENT
    finally:
        trace.add(end)
        _write(trace)
        end_trace()


def _write(trace: Trace) -> None:
    if trace.session_id is None or trace.left_out:
        return
    trace_writer.add(
        TracedRequest(
            session_id=trace.session_id,
            trace_id=trace.id,
            request_id=trace.request_id,
            at=trace.at,
            steps=[step.to_json() for step in trace.in_order()],
        )
    )
