"""The head of a response is read by RFC 9112, and as the standard library reads it where that is clear."""

import re
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from io import DEFAULT_BUFFER_SIZE, BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from urllib3.exceptions import HeaderParsingError
from urllib3.util.response import assert_header_parsing

from accounts.api_client import ApiClient
from accounts.upstream.http_message import StrictResponse, UnusableMessage
from tests.accounts.upstream.scripted_api import Api, say

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKS = b"2\r\n{}\r\n0\r\n\r\n"

#: Responses with the body {}, and whether another request can follow on the connection.
USABLE = {
    "line feeds alone": (b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}", True),
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\n{}", True),
    # Tomcat sends a blank.
    "a blank for a reason": (b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\n{}", True),
    "a length twice": (OK + b"Content-Length: 2, 2\r\nContent-Length: 2 \r\n\r\n{}", True),
    "a folded length": (OK + b"Content-Length:\r\n\t2\r\n\r\n{}", True),
    "the old name of no coding": (OK + b"Transfer-Encoding: Identity\r\nContent-Length: 2\r\n\r\n{}", True),
    "an empty coding": (OK + b"Transfer-Encoding: chunked,\r\n\r\n" + CHUNKS, True),
    "chunks and a length": (OK + b"Transfer-Encoding: Chunked\r\nContent-Length: 900\r\n\r\n" + CHUNKS, True),
    "chunks in HTTP/1.0": (
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS,
        False,
    ),
    "two options on two lines": (
        OK + b"Connection: keep-alive\r\nConnection: Close\r\nContent-Length: 2\r\n\r\n{}",
        False,
    ),
    "a CR inside of a header": (OK + b"X: a\rContent-Length: 9\r\nContent-Length: 2\r\n\r\n{}", True),
    "a CR before the end of a line": (
        OK + b"Content-Type: message/rfc822\r\nX: a\r\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS,
        True,
    ),
    "a line of one CR": (OK + b"X: a\r\n\r\r\nContent-Length: 2\r\n\r\n{}", True),
    "many blanks": (OK + b"X:" + b" " * 60_000 + b"\xe9\r\nContent-Length: 2\r\n\r\n{}", True),
    "parts of an e-mail": (OK + b"Content-Type: multipart/mixed\r\nContent-Length: 2\r\n\r\n{}", True),
    "odd interim": (b"HTTP/1.1 103 Hints\r\nno header\r\n\r\n" * 3 + OK + b"Content-Length: 2\r\n\r\n{}", True),
}


@pytest.mark.parametrize(("response", "kept"), USABLE.values(), ids=USABLE)
def test_an_odd_head_is_understood(client: Callable[[str], ApiClient], response: bytes, kept: bool) -> None:
    with Api(say(response)) as api:
        answers = [client(api.url).get("/"), client(api.url).get("/")]

        assert [(answer.status_code, answer.content) for answer in answers] == [(200, b"{}")] * 2
        assert api.connections == (1 if kept else 2)


#: The heads of responses without a body, what follows them, and whether another request can follow on the connection.
WITHOUT_BODY = {
    "not modified, with chunks": (b"HTTP/1.1 304 So\r\nTransfer-Encoding: chunked\r\n\r\n", b"", False),
    "not modified, and chunks": (b"HTTP/1.1 304 So\r\nTransfer-Encoding: chunked\r\n\r\n", b"0\r\n\r\n", False),
    "not modified, with a length": (b"HTTP/1.1 304 So\r\nContent-Length: 900\r\n\r\n", b"", True),
    "no content, with chunks": (b"HTTP/1.1 204 So\r\nTransfer-Encoding: chunked\r\n\r\n", b"", False),
    "no content, and chunks": (b"HTTP/1.1 204 So\r\nTransfer-Encoding: chunked\r\n\r\n", CHUNKS, False),
    "no content, and a body": (b"HTTP/1.1 204 So\r\nContent-Length: 2\r\n\r\n", b"{}", False),
    "no content": (b"HTTP/1.1 204 So\r\nContent-Length: 0\r\n\r\n", b"", True),
}


@pytest.mark.parametrize(("head", "rest", "kept"), WITHOUT_BODY.values(), ids=WITHOUT_BODY)
def test_no_body_is_awaited(client: Callable[[str], ApiClient], head: bytes, rest: bytes, kept: bool) -> None:
    """The script would keep silent until the timeout."""
    with Api(say(head + rest)) as api:
        answer, stream = client(api.url).get("/"), client(api.url).get("/", stream=True)

        assert (answer.status_code, answer.content) == (int(head[9:12]), b"")
        assert list(stream.iter_content(1)) == []
        assert api.connections == (1 if kept else 2)


@pytest.mark.parametrize(
    "header",
    [
        *("Transfer-Encoding: chunked", "Content-Length: 900"),
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\nContent-Length: 6",
    ],
)
def test_the_response_to_head_has_no_body(client: Callable[[str], ApiClient], header: str) -> None:
    """Some servers send it all the same. It may come after the next request, and be a response to read."""
    with Api(say(f"HTTP/1.1 200 OK\r\n{header}\r\n\r\n".encode())) as api:
        answers = [client(api.url).request("HEAD", "/"), client(api.url).request("HEAD", "/")]

        assert [(answer.status_code, answer.content) for answer in answers] == [(200, b"")] * 2
        assert api.connections == 2


@pytest.mark.parametrize(
    "response",
    [
        OK + b"Content-Length: 2\r\n\r\n{}",
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKS,
        b"HTTP/1.1 304 So\r\nContent-Length: 9000\r\n\r\n",
    ],
    ids=["length", "chunks", "not modified"],
)
def test_bytes_after_a_response_are_not_the_next_one(
    client: Callable[[str], ApiClient], certificate: Path | None, response: bytes
) -> None:
    """They come in one record of TLS, and the reader's buffer ends where the second response begins."""
    other, right = (OK + b"Content-Length: 5\r\n\r\n" + body for body in (b"other", b"right"))
    responses = [response.ljust(DEFAULT_BUFFER_SIZE) + other, right]
    with Api(lambda connection, _: connection.sendall(responses.pop(0)), certificate=certificate) as api:
        client(api.url).get("/")

        assert client(api.url).post("/").content == b"right"


STATUS_LINES = [
    *(OK, b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 204 No Content\r\n", b"HTTP/1.1 304\r\n", b"HTTP/1.1 404  Not   here \n"),
    *(b"HTTP/1.2 599 x\r\n", b"HTTP/2 200 OK\r\n", b"HTTP/1.1 20 x\r\n", b"hello\r\n", b"\r\n", b""),
]
INTERIM = [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", b"HTTP/1.1 101\r\n\r\n"]
NAMES = st.sampled_from(
    [b"Content-Length", b"content-length", b"Transfer-Encoding", b"Connection", b"Set-Cookie", b"X!#~/"]
)
VALUES = st.sampled_from(
    [
        *(b"5", b" 5 ", b"5,6", b"-5", b"0x5", b"5_0", b"", b"chunked", b"Chunked", b"chunked ", b"gzip, chunked"),
        *(b"close", b"keep-alive", b"Close, x", b"timeout=5", b"caf\xe9", b"a\r\n folded", b"a\n\tfolded ", b"a\tb"),
        *(b"a\x00b", b"a\x7f", b"a\x0b\x85", b'x="y: z"'),
    ]
)
LINES = st.one_of(
    st.tuples(NAMES, st.sampled_from([b":", b": ", b":\t", b" : "]), VALUES).map(b"".join),
    st.sampled_from([b" first", b"no header", b": no name", b"N\xe4me: x"]),
)
HEADS = st.builds(
    lambda interim, status, lines: b"".join([*interim, status, *(line + ending for line, ending in lines), b"\r\n"]),
    st.lists(st.sampled_from(INTERIM), max_size=2),
    st.sampled_from(STATUS_LINES),
    st.lists(st.tuples(LINES, st.sampled_from([b"\r\n", b"\n"])), max_size=5),
)


class Socket:
    """What a response reads from."""

    def __init__(self, response: bytes) -> None:
        self._response = response

    def makefile(self, mode: str) -> BytesIO:
        return BytesIO(self._response)


class Library(HTTPResponse):
    """The standard library's reading. What it guesses is an error, or not compared."""

    def begin(self) -> None:
        super().begin()
        while self.status < 200:
            self.headers = None  # type: ignore[assignment]
            super().begin()
        try:
            assert_header_parsing(self.headers)
        except HeaderParsingError:
            raise UnusableMessage("a line of the head is no header") from None
        codings = [str(value).strip().lower() for value in self.headers.get_all("Transfer-Encoding", ())]
        lengths = {str(value).strip() for value in self.headers.get_all("Content-Length", ())}
        if "".join(codings) not in ("", "chunked"):
            raise UnusableMessage("not chunked")
        if "chunked" in codings:
            assume(self._method != "HEAD" and self.status not in (204, 304))  # type: ignore[attr-defined]
            assume(self.version == 11)
            self.chunked = True
            self.length = None
            self.will_close = self._check_close()  # type: ignore[attr-defined]
        elif len(lengths) > 1 or not all(re.fullmatch("[0-9]+", length) for length in lengths):
            raise UnusableMessage("no length")
        assume(self.status != 204 or not lengths)
        if self._method == "HEAD":  # type: ignore[attr-defined]
            # The product does not use this connection again.
            self.will_close = True
        assume(len(self.headers.get_all("Connection", ())) < 2)


def outcome(kind: type[HTTPResponse], head: bytes, method: str) -> Any:
    """What a response says after its head, and the rest of what it reads from; None if it is unusable."""
    response = kind(Socket(head + b"hello"), method=method)  # type: ignore[arg-type]
    try:
        response.begin()
    except HTTPException:
        return None
    assert (response.getcode(), response.msg) == (response.status, response.headers)
    headers = [
        (name, re.sub("[ \t\r\n]+", " ", str(value)).strip(" "))
        for name, value in response.headers.raw_items()
        # The product removes them where they say nothing: no body follows, or chunks do.
        if name != "Transfer-Encoding" and not (response.chunked and name.lower() == "content-length")
    ]
    return (
        *(response.status, response.reason, response.version, headers),
        *(bool(response.chunked), response.length, bool(response.will_close), response.fp.read()),
    )


@settings(deadline=None, derandomize=True)
@given(HEADS, st.sampled_from(["GET", "HEAD", "POST"]))
@example(OK + b"".join(b"X-%d: y\r\n" % number for number in range(99)) + b"\r\n", "GET")
@example(OK + b"".join(b"X-%d: y\r\n" % number for number in range(100)) + b"\r\n", "GET")
@example(OK + b"X: " + b"y" * 65_532 + b"\n\r\n", "GET")
@example(OK + b"X: " + b"y" * 65_533 + b"\n\r\n", "GET")
@example(OK + b"X:y:z\r\nY: a\x85\r\n\r\n", "GET")
@example(OK + b"Content-Length:\r\n\r\n", "GET")
@example(b"HTTP/1.1 099 x\r\n\r\n" + OK + b"\r\n", "GET")
@example(b"HTTP/2.0 200 OK\r\n\r\n", "GET")
def test_it_says_the_same_as_the_standard_library(head: bytes, method: str) -> None:
    assert outcome(StrictResponse, head, method) == outcome(Library, head, method)
