"""The API's event streams (WHATWG HTML, section 9.2): they may be quiet for hours, and come in pieces of any size."""

import re
import time
from collections.abc import Iterator

from requests import Response
from urllib3 import HTTPResponse
from urllib3.exceptions import HTTPError

from accounts.exceptions import ApiMisbehaved, ApiUnavailable
from accounts.upstream.deadline import DeadlineResponse
from accounts.upstream.failure_reasons import describe_failure
from accounts.upstream.response import MAX_ANSWER_BYTES

EVENT_STREAM = "text/event-stream"
#: Where a stream can be cut: after each line, or after each event. Lines end with LF, CR or both.
LINE_END = re.compile(rb"[\r\n]")
EVENT_END = re.compile(rb"(?:\r\n|\n|\r(?!\n)){2}")
#: Proxies close connections that are silent for long.
HEARTBEAT_SECONDS = 10.0
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_PIECE_BYTES = 64 * 1024
#: A compressed stream cannot be cut. These headers ask the API for one that is not.
EVENT_STREAM_HEADERS = {"Accept": EVENT_STREAM, "Accept-Encoding": "identity"}


def is_event_stream(response: Response) -> bool:
    """Whether the API sends events that are not compressed."""
    return (
        response.status_code == 200
        and response.request.method != "HEAD"
        and response.headers.get("Content-Type", "").partition(";")[0].strip().lower() == EVENT_STREAM
        and response.headers.get("Content-Encoding", "").strip().lower() in ("", "identity")
    )


def read_events(body: HTTPResponse, end: re.Pattern[bytes]) -> Iterator[bytes | None]:
    """The body (`Response.raw`) in pieces that end with a line or an event; None when a heartbeat is due.

    What follows the last `end` is left out: a browser ignores it too. Raises ApiUnavailable if the body breaks off, and
    ApiMisbehaved for an event that is too large.
    """
    original = body._original_response
    if isinstance(original, DeadlineResponse):
        original.shrink_buffer()
    held, is_first = bytearray(), True
    due = time.monotonic() + HEARTBEAT_SECONDS
    while True:
        if not _wait(body, due - time.monotonic()):
            due = time.monotonic() + HEARTBEAT_SECONDS
            yield None
            continue
        piece = _read(body)
        if not piece:
            return
        # The end may have begun in the bytes before.
        start = max(0, len(held) - 3)
        held += piece
        cut = max((match.end() for match in end.finditer(held, start)), default=0)
        if cut:
            whole = bytes(held[:cut])
            del held[:cut]
            due = time.monotonic() + HEARTBEAT_SECONDS
            yield whole.removeprefix(_BYTE_ORDER_MARK) if is_first else whole
            is_first = False
        elif len(held) > MAX_ANSWER_BYTES:
            body.close()
            raise ApiMisbehaved(f"an event has more than {MAX_ANSWER_BYTES} bytes")


def _wait(body: HTTPResponse, seconds: float) -> bool:
    """Whether there is something to read. False if nothing arrives within `seconds`, or the time is over."""
    if seconds <= 0:
        return False
    original = body._original_response
    try:
        # A test may have put another response in the place of the API's.
        return original.wait(seconds) if isinstance(original, DeadlineResponse) else True
    except OSError as error:
        body.close()
        raise ApiUnavailable(f"the event stream breaks off: {describe_failure(error)}") from None


def _read(body: HTTPResponse) -> bytes:
    try:
        return bytes(body.read1(_PIECE_BYTES, decode_content=False))
    except (HTTPError, ValueError) as error:
        # A chunk with an invalid length raises a ValueError.
        body.close()
        # The server logs this error with its cause, and the cause quotes the response.
        raise ApiUnavailable(f"the event stream breaks off: {describe_failure(error)}") from None
