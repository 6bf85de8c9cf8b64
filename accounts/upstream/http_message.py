"""Reads the head and the chunks of a response strictly, by RFC 9112, where the standard library guesses.

A connection is used again for the request of another user. Bytes that one response leaves on it would be read as the
next response.
"""

import re
from collections.abc import Iterator
from http.client import HTTPException, HTTPMessage, HTTPResponse, LineTooLong, RemoteDisconnected
from typing import BinaryIO

# Both match in linear time, whatever the API sends.
_STATUS_LINE = re.compile(r"HTTP/1\.([0-9])[ \t]+([1-9][0-9]{2})(?:[ \t](.*))?")
_HEADER = re.compile(r"([!-9;-~]+):(.*)")
_LENGTH = re.compile(r"[0-9]{1,18}")
_CHUNK_LENGTH = re.compile(rb"[0-9A-Fa-f]{1,16}")
_BLANKS = " \t"
_MAX_LINE = 65_536
_MAX_HEADERS = 99


class UnusableMessage(HTTPException):
    """It cannot be parsed, or does not say clearly where the response ends. The text quotes nothing of it."""


class StrictResponse(HTTPResponse):
    def begin(self) -> None:
        """Read the head. Raises UnusableMessage, or another HTTPException.

        The standard library parses the headers as those of an e-mail. It takes a CR for the end of a line, and up to a
        twentieth of the CPU time of a small page.
        """
        status = 0
        while status < 200:
            # All interim responses are skipped, not only 100 (RFC 9110 section 15.2). The final one is still to come.
            version, status, reason = _read_status_line(self.fp)
            lines = _read_header_lines(self.fp)
        headers = _parse_headers(lines)
        chunked, length = _find_length(headers)
        if chunked:
            # Chunks override it (RFC 9112 section 6.3). If no body follows, urllib3 would read it all the same.
            del headers["Content-Length"]
        is_head: bool = self._method == "HEAD"  # type: ignore[attr-defined]
        if is_head or status in (204, 304):
            # No body follows (RFC 9112 section 6.3). But some servers send the body that a HEAD or a 204 says, and the
            # last chunk after a 304 that says chunks.
            unclear_end = is_head or chunked or (status == 204 and bool(length))
            chunked, length = False, 0
            # urllib3 would read chunks.
            del headers["Transfer-Encoding"]
        else:
            # HTTP/1.0 has no chunks (RFC 9112 section 6.1). A body without a length ends with the connection.
            unclear_end = version == 0 if chunked else length is None
        self.headers = self.msg = headers
        self.code = self.status = status
        self.reason = reason
        self.version = 10 if version == 0 else 11
        self.chunked, self.length = chunked, length
        self.chunk_left = None
        # RFC 9112 section 9.3.
        options = {option.lower() for option in _split(headers, "Connection")}
        persists = "close" not in options and (version > 0 or "keep-alive" in options)
        self.will_close = unclear_end or not persists

    def _read_next_chunk_size(self) -> int:
        """The standard library would accept -2, 0x2 and 1_0, too."""
        line = self.fp.readline(_MAX_LINE + 1)
        if len(line) > _MAX_LINE:
            raise LineTooLong("chunk size")
        size = line.partition(b";")[0].strip()
        if not _CHUNK_LENGTH.fullmatch(size):
            raise UnusableMessage("a chunk has no valid length" if line else "the chunked body is cut off")
        return int(size, 16)


def _read_status_line(file: BinaryIO) -> tuple[int, int, str]:
    """The minor version of HTTP/1, the status code and the reason phrase.

    Raises RemoteDisconnected if nothing came.
    """
    line = file.readline(_MAX_LINE + 1)
    if not line:
        raise RemoteDisconnected("the connection was closed before a response came")
    if (found := _STATUS_LINE.fullmatch(_decode_line(line))) is None:
        raise UnusableMessage("the response is not one of HTTP")
    version, status, reason = found.groups("")
    return int(version), int(status), reason.strip(_BLANKS)


def _read_header_lines(file: BinaryIO) -> list[str]:
    """The lines up to the empty one. A line that begins with a blank is part of the one before."""
    lines: list[str] = []
    for _ in range(_MAX_HEADERS + 1):
        line = _decode_line(file.readline(_MAX_LINE + 1))
        if not line:
            return lines
        if line[0] in _BLANKS and lines:
            # RFC 9112 section 5.2.
            lines[-1] += " " + line.strip(_BLANKS)
        else:
            lines.append(line)
    raise UnusableMessage("the head has too many headers")


def _decode_line(line: bytes) -> str:
    """A line of the head without its end. A CR inside becomes a space (RFC 9112 section 2.2)."""
    if len(line) > _MAX_LINE:
        raise LineTooLong("head")
    if not line.endswith(b"\n"):
        raise UnusableMessage("the head is cut off")
    return line[:-1].removesuffix(b"\r").replace(b"\r", b" ").decode("iso-8859-1")


def _parse_headers(lines: list[str]) -> HTTPMessage:
    headers = HTTPMessage()
    for line in lines:
        if (found := _HEADER.fullmatch(line)) is None:
            raise UnusableMessage("a line of the head is no header")
        headers.set_raw(found[1], found[2].strip(_BLANKS))
    return headers


def _find_length(headers: HTTPMessage) -> tuple[bool, int | None]:
    """Whether the body is chunked, and its length in bytes if the headers say one (RFC 9112 section 6.3).

    Raises UnusableMessage if readers could find the end of the response at different places.
    """
    said = (coding.lower() for coding in _split(headers, "Transfer-Encoding"))
    # An empty element of a list says nothing (RFC 9110 section 5.6.1), and "identity" is the old name of no coding.
    codings = [coding for coding in said if coding not in ("", "identity")]
    if codings:
        if "chunked" not in codings:
            raise UnusableMessage("Transfer-Encoding is not chunked")
        if len(codings) > 1:
            many = "chunked twice" if codings.count("chunked") > 1 else "more than chunked"
            raise UnusableMessage(f"Transfer-Encoding says {many}")
        return True, None
    lengths = set(_split(headers, "Content-Length"))
    if len(lengths) > 1:
        raise UnusableMessage("there are different Content-Length headers")
    if not all(_LENGTH.fullmatch(length) for length in lengths):
        raise UnusableMessage("Content-Length is no number")
    return False, int(lengths.pop()) if lengths else None


def _split(headers: HTTPMessage, name: str) -> Iterator[str]:
    """The elements of a header that is a list. There may be millions."""
    return (element.strip(_BLANKS) for value in headers.get_all(name, ()) for element in value.split(","))
