"""What becomes of a trace: it is written down, so that every process of the site can show it."""

from collections.abc import Iterable, Iterator

from django.http import HttpResponseBase, StreamingHttpResponse

from accounts.history.background_writer import BackgroundWriter, write_until_exit
from accounts.models import TracedRequest
from accounts.telemetry.trace import StepKind, Trace, end_trace

#: Of each session, the newest.
KEPT_REQUESTS = 20
_ROOM = 1_000


class TracedRequestWriter(BackgroundWriter[TracedRequest]):
    """For requests that are drawn. Of each session it keeps the newest."""

    def __init__(self) -> None:
        super().__init__(TracedRequest, room=_ROOM)

    def insert(self, batch: list[TracedRequest], database: str) -> None:
        super().insert(batch, database)
        for session_id in {row.session_id for row in batch}:
            # A streamed one has two rows.
            TracedRequest.objects.using(database).forget_older(session_id, kept=2 * KEPT_REQUESTS)


trace_writer = TracedRequestWriter()
write_until_exit(trace_writer)


def finish_trace(trace: Trace, response: HttpResponseBase) -> HttpResponseBase:
    """The answer is about to leave: note that, and have the trace written; a streamed one again when it ends."""
    trace.add(StepKind.ANSWER, status=response.status_code)
    _write(trace)
    if isinstance(response, StreamingHttpResponse) and not response.is_async:
        response.streaming_content = _traced(trace, response.streaming_content)  # type: ignore[arg-type]
    else:
        end_trace()
    return response


def _traced(trace: Trace, body: Iterable[bytes]) -> Iterator[bytes]:
    """The body as it is. What happens in its making belongs to the trace, and at its end all of it is written."""
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
