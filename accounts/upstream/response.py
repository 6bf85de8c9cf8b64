"""The API's response to a view: a limit on its size, and one exception for every kind of damaged JSON."""

from typing import Any

import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError

from accounts.exceptions import ApiMisbehaved
from accounts.text import has_byte_order_mark, parse_json

#: The limit of a body that is read as a whole, after decompression: a few kilobytes can inflate to gigabytes. A body
#: that is read piece by piece (`stream=True`) has no limit.
MAX_ANSWER_BYTES = 8 * 1024 * 1024

_PIECE_BYTES = 64 * 1024


class ApiResponse(requests.Response):
    """A `requests.Response` with a limit on its body, and with one exception for every kind of damaged JSON."""

    @property
    def content(self) -> bytes:
        """The whole body. Raises ApiMisbehaved if it is too large."""
        if not self._content_consumed:
            body = read_body(self, MAX_ANSWER_BYTES + 1)
            if len(body) > MAX_ANSWER_BYTES:
                self.close()
                raise ApiMisbehaved(
                    f"the API's response has more than {MAX_ANSWER_BYTES} bytes (MAX_ANSWER_BYTES in "
                    "accounts/upstream/response.py). Request less data at once, or read the response with stream=True."
                )
            self._content, self._content_consumed = body, True
        return super().content

    @property
    def text(self) -> str:
        """The body as text. A charset that is unknown, or that is no text encoding in Python, is ignored."""
        try:
            return super().text
        except ValueError:
            return str(self.content, errors="replace")

    def json(self, **options: Any) -> Any:
        """The body's JSON. Raises requests.JSONDecodeError, also for too deep nesting and too many digits.

        A byte order mark tells the encoding, and wins over a charset.
        """
        try:
            if has_byte_order_mark(self.content):
                return parse_json(self.content, **options)
            return super().json(**options)
        except requests.JSONDecodeError:
            raise
        except (ValueError, RecursionError) as error:
            raise requests.JSONDecodeError(type(error).__name__, "", 0) from error


def read_body(response: requests.Response, at_most: int) -> bytes:
    """The first `at_most` bytes of the decompressed body. If the body breaks off, its connection is closed.

    No more than that is held in memory. `iter_content` would hold the whole rest if a chunk's length was given as -1.
    Raises requests.RequestException.
    """
    pieces = []
    try:
        while at_most > 0 and (piece := response.raw.read1(min(at_most, _PIECE_BYTES), decode_content=True)):
            pieces.append(piece)
            at_most -= len(piece)
    except ReadTimeoutError as error:
        response.close()
        raise requests.ConnectionError(error) from error
    except (HTTPError, ValueError) as error:
        # http.client raises ValueError for a chunk length that is no number.
        response.close()
        raise requests.exceptions.ChunkedEncodingError(error) from error
    return b"".join(pieces)
