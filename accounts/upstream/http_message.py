"""Reads the head of a response strictly, by RFC 9112, where the standard library guesses.

A connection is used again for the request of another user. Bytes that one response leaves on it would be read as the
next response.
"""

import re
from email.message import Message
from http.client import HTTPException, HTTPResponse

from urllib3.exceptions import HeaderParsingError
from urllib3.util.response import assert_header_parsing

_LENGTH = re.compile(r"[0-9]{1,18}")


class StrictResponse(HTTPResponse):
    def begin(self) -> None:
        """Raises HTTPException for a head that does not say clearly where the response ends."""
        super().begin()
        while self.status < 200:
            # All interim responses are skipped, not only 100 (RFC 9110 section 15.2). The final one is still to come.
            self.headers = None  # type: ignore[assignment]  # `begin` does nothing if there are headers
            super().begin()
        try:
            assert_header_parsing(self.headers)
        except HeaderParsingError:
            # The parser stops at a line that is no header. Its error quotes the line, which must not reach the log.
            raise HTTPException("the response's head cannot be parsed") from None
        if not _has_one_end(self.headers):
            raise HTTPException("the response's head does not say where the response ends")


def _has_one_end(headers: Message) -> bool:
    """Whether every reader finds the end of the response at the same place (RFC 9112 section 6.3)."""
    codings: list[str] = []
    lengths: set[str] = set()
    for name, value in headers.raw_items():
        match name.lower():
            case "transfer-encoding":
                codings.append(value.lower())
            case "content-length":
                lengths.update(length.strip() for length in value.split(","))
    if "chunked" in ",".join(codings):
        return codings == ["chunked"]
    return len(lengths) < 2 and all(_LENGTH.fullmatch(length) for length in lengths)
