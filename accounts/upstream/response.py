"""The API's answer to a call: how much of it is read, and what a view sees of one that is damaged."""

from typing import Any

import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError

from accounts.exceptions import ApiMisbehaved

#: What a view reads whole stays below this, after decompression: a few kilobytes can inflate to gigabytes. What it
#: reads piece by piece (`stream=True`) has no limit.
MAX_ANSWER_BYTES = 8 * 1024 * 1024

_PIECE_BYTES = 64 * 1024


class ApiResponse(requests.Response):
    """A `requests.Response` whose body has a limit, and that says of every kind of damaged JSON that it is damaged."""

    @property
    def content(self) -> bytes:
        """The whole body. Raises ApiMisbehaved where that is too large."""
        if not self._content_consumed:
            body = read_body(self, MAX_ANSWER_BYTES + 1)
            if len(body) > MAX_ANSWER_BYTES:
                self.close()
                raise ApiMisbehaved(
                    f"the API's answer has more than {MAX_ANSWER_BYTES} bytes (MAX_ANSWER_BYTES in "
                    "accounts/api_response.py). Ask it for less at once, or read the answer with stream=True."
                )
            self._content, self._content_consumed = body, True
        return super().content

    @property
    def text(self) -> str:
        """The body as text. A charset that is none, or that Python uses for other things than text, does not count."""
        try:
            return super().text
        except ValueError:
            return str(self.content, errors="replace")

    def json(self, **options: Any) -> Any:
        """The body's JSON. Raises requests.JSONDecodeError, also for what is nested too deep or has too many digits."""
        try:
            return super().json(**options)
        except requests.JSONDecodeError:
            raise
        except (ValueError, RecursionError) as error:
            raise requests.JSONDecodeError(type(error).__name__, "", 0) from error


def read_body(response: requests.Response, at_most: int) -> bytes:
    """The body, decompressed, or as much of it as `at_most` bytes. Where it breaks off, its connection is closed.

    Never more than that is held. `iter_content` would hold all that comes where a chunk says that its length is -1.
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
        # A ValueError, where chunks are said to have a length that is none.
        response.close()
        raise requests.exceptions.ChunkedEncodingError(error) from error
    return b"".join(pieces)
