"""Reads the head and the chunks of a response strictly, by RFC 9112, where the standard library guesses.

A connection is used again for the request of another user. Bytes that one response leaves on it would be read as the
next response.
"""

import re
from email.message import Message
from http.client import HTTPException, HTTPResponse, LineTooLong

from urllib3.exceptions import HeaderParsingError
from urllib3.util.response import assert_header_parsing

_LENGTH = re.compile(r"[0-9]{1,18}")
_CHUNK_LENGTH = re.compile(rb"[0-9A-Fa-f]{1,16}")
_MAX_LINE = 65_536


class UnusableMessage(HTTPException):
    """It cannot be parsed, or does not say clearly where the response ends. The text quotes nothing of it."""


class StrictResponse(HTTPResponse):
    def begin(self) -> None:
        """Raises UnusableMessage, or another HTTPException."""
        super().begin()
        while self.status < 200:
            # All interim responses are skipped, not only 100 (RFC 9110 section 15.2). The final one is still to come.
            self.headers = None  # type: ignore[assignment]  # `begin` does nothing if there are headers
            super().begin()
        try:
            assert_header_parsing(self.headers)
        except HeaderParsingError:
            # The parser stops at a line that is no header. Its error quotes the line, which must not reach the log.
            raise UnusableMessage("a line of the head is no header") from None
        if problem := _find_problem(self.headers):
            raise UnusableMessage(problem)

    def _read_next_chunk_size(self) -> int:
        """The standard library would accept -2, 0x2 and 1_0, too."""
        line = self.fp.readline(_MAX_LINE + 1)
        if len(line) > _MAX_LINE:
            raise LineTooLong("chunk size")
        size = line.partition(b";")[0].strip()
        if not _CHUNK_LENGTH.fullmatch(size):
            raise UnusableMessage("a chunk has no valid length" if line else "the chunked body is cut off")
        return int(size, 16)


def _find_problem(headers: Message) -> str:
    """Why readers could find the end of the response at different places (RFC 9112 section 6.3); "" if they do not."""
    codings: list[str] = []
    lengths: set[str] = set()
    for name, value in headers.raw_items():
        match name.lower():
            case "transfer-encoding":
                codings.append(value.lower())
            case "content-length":
                lengths.update(length.strip() for length in value.split(","))
    chunked = ",".join(codings).count("chunked")
    if chunked > 1:
        return "Transfer-Encoding says chunked twice"
    if chunked:
        return "" if codings == ["chunked"] else "Transfer-Encoding says more than chunked"
    if len(lengths) > 1:
        return "there are different Content-Length headers"
    return "" if all(_LENGTH.fullmatch(length) for length in lengths) else "Content-Length is no number"
