"""Requests that no client library sends, as a strategy of Hypothesis."""

from dataclasses import dataclass

from hypothesis import strategies as st

from tests.load.browser import Browser as Person

PROXY = "/protected/api/protected-route"
#: A request that may only ever be a part of another one's body.
HIDDEN = f"GET {PROXY}/hidden HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"

#: A parameter in two pieces of which only one has a number (RFC 2231 section 3).
PIECES = "b*=1; b*0=2"
#: Header lines that two servers could understand in two ways.
LINES = [
    b"Content-Length: 0",
    b"Content-Length: 5",
    b"Content-Length: +5",
    b"Content-Length: -1",
    b"Content-Length: 0x5",
    b"Content-Length: 5, 5",
    b"Content-Length: 99999999999999999999",
    b"Content-Length: " + b"9" * 5000,
    b"Content-Length: ",
    b"Content-Length : 5",
    b"Content_Length: 5",
    b"Content-Length\t: 5",
    b"Content-Length: \xb2",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: Chunked",
    b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding : chunked",
    b"Transfer-Encoding:\x0bchunked",
    b"Transfer-Encoding: identity",
    b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
    b"Transfer-Encoding:\r\n chunked",
    b"Transfer-Encoding: \x00chunked",
    b"Transfer_Encoding: chunked",
    b"X: a\nTransfer-Encoding: chunked",
    b"X: a\rTransfer-Encoding: chunked",
    b"X: a\r\n folded",
    b" X: a",
    b"\tX: a",
    b"X",
    b": a",
    b"",
    b"X\x00: a",
    b"X Y: a",
    b"X(: a",
    b"\xc3\xa9: a",
    b"X: \x00",
    b"X: \x7f",
    b"X: \xff\xfe",
    b"X: " + b"a" * 9000,
    b"\r\n".join(b"X-%d: a" % number for number in range(120)),
    b"Host: evil.example",
    b"Host: 127.0.0.1",
    b"Connection: Transfer-Encoding, Content-Length",
    b"Connection: keep-alive",
    b"Expect: 100-continue",
    b"Expect: x",
    b"Upgrade: h2c",
    b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
    b"Trailer: Content-Length",
    b"TE: trailers",
    b"X-Forwarded-Proto: https",
    b"X-Forwarded-Proto: x",
    b"X-Forwarded-Ssl: on",
    b"X-Forwarded-For: \xff",
    b"Proxy: http://127.0.0.1:1/",
    b"Accept: \xa0",
    b"Prefer: \x85a",
    b"Cookie: session=x",
    b"Cookie: session-new-\xe9=x; session-new-[]=y",
    b"Cookie: " + b"a=b; " * 1500,
    b"Content-Type: multipart/form-data; boundary=x",
    b"Content-Type: text/plain; " + PIECES.encode(),
    b"Content-Encoding: gzip",
    b"Range: bytes=0-0,-1",
    b"User-Agent: " + b"\xff" * 300,
    b"SCRIPT_NAME: /protected",
    b"PATH_INFO: /",
    b"X-Request-ID: \xff",
    b"traceparent: 00-" + b"f" * 9000,
]
METHODS = [b"GET", b"POST", b"HEAD", b"OPTIONS", b"TRACE", b"CONNECT", b"PRI", b"get", b"G(T", b"", b"\x00", b"M" * 300]
TARGETS = [
    PROXY.encode(),
    b"/",
    b"/protected/",
    b"/accounts/login/?next=//evil.example",
    b"/accounts/session/update/",
    b"/accounts/callback/?state=%00&state=%ff",
    b"http://evil.example/",
    b"//evil.example/protected/",
    b"*",
    b"evil.example:80",
    b"",
    b"/\x00",
    b"/\xff",
    b"/%ff%00",
    b"/a b",
    b"/#/..",
    b"/?" + b"a&" * 1500,
    b"/" + b"a" * 3000,
    b"/" + b"a" * 9000,
]
VERSIONS = [
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"HTTP/0.9",
    b"HTTP/2.0",
    b"HTTP/9.9",
    b"http/1.1",
    b"HTTP/1.1 x",
    b"",
    b"HTTP/1.\xb2",
]


@dataclass(frozen=True)
class Sent:
    """A request whose body is as long as its Content-Length says, or ends where its chunks do; and lines besides."""

    method: bytes
    target: bytes
    version: bytes
    lines: list[bytes]
    ends_early: bool
    chunked: bool

    def raw(self, person: Person) -> bytes:
        cookie = person.jar.header()
        hidden = f"{HIDDEN}Cookie: {cookie}\r\n\r\n".encode()
        body = b"0\r\n\r\n" + hidden if self.ends_early else hidden
        framing = b"Content-Length: %d" % len(body)
        if self.chunked:
            body, framing = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body), b"Transfer-Encoding: chunked"
        head = [b" ".join([self.method, self.target, self.version]), *self.lines, b"Host: 127.0.0.1"]
        own = [f"Cookie: {cookie}", f"X-CSRFToken: {person.jar.value('csrftoken')}", "Accept: application/json"]
        rest = [*map(str.encode, own), framing, b"", b""]
        return b"\r\n".join([*head, *rest]) + body


sent = st.builds(
    Sent,
    method=st.one_of(st.just(b"POST"), st.sampled_from(METHODS), st.binary(max_size=5)),
    target=st.one_of(
        st.sampled_from(TARGETS[:5]), st.sampled_from(TARGETS), st.binary(max_size=20).map(lambda raw: b"/" + raw)
    ),
    version=st.one_of(st.just(b"HTTP/1.1"), st.sampled_from(VERSIONS)),
    lines=st.lists(st.one_of(st.sampled_from(LINES), st.binary(max_size=30)), max_size=3),
    ends_early=st.booleans(),
    chunked=st.booleans(),
)
