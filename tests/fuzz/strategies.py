"""What gateways and APIs may send, as strategies of Hypothesis; and the values that all strategies use."""

import gzip
import json
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

#: Text as WSGI has it: bytes, each as a character (PEP 3333).
latin = st.text(st.characters(max_codepoint=255), max_size=40)
#: What no header should have in it, and what splits answers and requests where it gets through.
CONTROLS = ["\r\n", "\r", "\n", "\0", "\x0b", "\x1c", "\x7f", "\x85", "\r\n ", "\r\nX-Injected: yes\r\n\r\n", "\n\n<b>"]

numbers = st.one_of(
    st.integers(),
    st.integers(min_value=10**4000, max_value=10**4000 + 9),
    st.floats(),
    st.sampled_from([0, -1, 1e308, 2**63, 10**400]),
)
texts = st.one_of(st.text(max_size=60), st.sampled_from(["", "\0", "\ud800", "<script>", "a" * 5000, "٣", "1e999"]))
json_values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=12,
)


def changed(whole: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """`whole` with some of its values replaced, and some of them missing."""
    names = st.sampled_from(sorted(whole))
    replaced = st.dictionaries(names, json_values, max_size=2)
    missing = st.sets(names, max_size=1)
    return st.builds(lambda new, gone: {k: v for k, v in {**whole, **new}.items() if k not in gone}, replaced, missing)


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


#: Bodies that some reader chokes on.
ODD_BODIES: list[bytes] = [
    b"",
    b"null",
    b"{",
    b"<h1>Bad Gateway</h1>",
    b"[" * 10_000,
    b'{"data":' * 2000,
    b'{"data":' + b"[" * 900 + b"]" * 900 + b"}",
    b'{"data":' + b"9" * 5000 + b"}",
    b'{"data": 1e999, "a": NaN}',
    b"\xef\xbb\xbf{}",
    b"\xff\xfe{\x00}\x00",
    b'{"data": "\\ud800"}',
    b'{"message": "no"}',
    b"\x1f\x8b",
    gzip.compress(b'{"data": 1}'),
    gzip.compress(b'{"data": 1}')[:-9],
    gzip.compress(gzip.compress(b"[]")) + b"rest",
    zlib.compress(b"{}"),
    b"x" * 9000,
    as_json({"data": [{str(n): n} for n in range(600)]}),
]
bodies = st.one_of(json_values.map(as_json), st.binary(max_size=80), st.sampled_from(ODD_BODIES))

ODD_STATUSES = [
    100,
    101,
    103,
    199,
    204,
    205,
    206,
    301,
    302,
    304,
    307,
    400,
    401,
    403,
    404,
    408,
    429,
    500,
    503,
    599,
    600,
    999,
]
statuses = st.one_of(st.just(200), st.sampled_from(ODD_STATUSES), st.integers(100, 999))

_HEADERS: dict[str, list[str]] = {
    "Content-Type": [
        "application/json",
        "application/json; charset=latin-1",
        "text/html; charset=idna",
        "application/json; charset=undefined",
        "text/plain; charset=punycode",
        "application/json; charset=hex",
        'application/json; charset="utf-8\0"',
        "text/event-stream",
        ";;;=",
        "",
    ],
    "Content-Encoding": ["gzip", "deflate", "br", "gzip, gzip", "gzip, " * 9 + "gzip", "identity", "x", ",", "GZIP"],
    "Set-Cookie": ["session=; Path=/", "session=theirs", "a=b; expires=" + "9" * 300, "=;=;", "__Host-session=x"],
    "Location": ["https://evil.example/", "//evil.example", "http://[", "javascript:alert(1)", ""],
    "Retry-After": [
        "0",
        "-1",
        "9" * 5000,
        "Mon, 99 Foo 9999",
        "Fri, 31 Dec 9999 23:59:59 -2359",
        "1e9",
        "\xb2",
        "",
        "a b c d e",
    ],
    "Cache-Control": ["public", "private=, public, =,", "max-age=x, s-maxage", 'no-cache="Set-Cookie', ","],
    "Vary": ["*", ",", "Cookie", "a" * 500],
    "ETag": ['"1"', "W/", '"\x80"'],
    "Content-Disposition": ['attachment; filename="a\r\n b"', "inline"],
    "Link": ["<a>; rel=next\r\n <b>", "<"],
    "Connection": ["close", "keep-alive", "Upgrade", "ETag"],
    "Upgrade": ["h2c", "websocket"],
    "WWW-Authenticate": ["Bearer", "Basic realm=x"],
    "Content-Security-Policy": ["default-src *"],
    "Trailer": ["Content-Length"],
    "X-Injected": ["yes"],
}


@st.composite
def _headers(draw: st.DrawFn) -> list[str]:
    name = draw(st.sampled_from(sorted(_HEADERS)))
    value = draw(st.one_of(st.sampled_from(_HEADERS[name]), latin))
    if draw(st.integers(0, 5)) == 0:
        at = draw(st.integers(0, len(value)))
        value = value[:at] + draw(st.sampled_from(CONTROLS)) + value[at:]
    return [f"{name}: {value}"]


Framing = Callable[[bytes], tuple[list[str], bytes]]


def _with(*lines: str) -> Framing:
    """The body as it is, under these header lines; `{length}` is its length."""
    return lambda body: ([line.format(length=len(body)) for line in lines], body)


def _in_chunks(coding: str = "chunked", size: str = "{length:x}", *lines: str) -> Framing:
    """The body as one chunk, said to be of this size."""
    return lambda body: (
        [f"Transfer-Encoding: {coding}", *lines],
        size.format(length=len(body)).encode() + b"\r\n" + body + b"\r\n0\r\n\r\n",
    )


#: How a body is said to be long: the header lines for it, and what follows the head.
FRAMINGS: dict[str, Framing] = {
    "its length": _with("Content-Length: {length}"),
    "chunks": _in_chunks(),
    "until it ends": _with(),
    "more than comes": _with("Content-Length: 1{length}"),
    "less than comes": lambda body: ([f"Content-Length: {len(body) // 2}"], body),
    "its length twice": _with("Content-Length: {length}", "Content-Length: {length}"),
    "two lengths": _with("Content-Length: {length}", "Content-Length: 1{length}"),
    "length and chunks": _in_chunks("chunked", "{length:x}", "Content-Length: 3"),
    **{
        f"a length of {length!r}": _with(f"Content-Length: {length}")
        for length in ("-5", "+2", "1_0", "0x5", "", "9" * 30, "2, 2", "2,3", "\xb2", " 2")
    },
    **{
        f"a chunk of {size!r}": _in_chunks("chunked", size)
        for size in ("-5", "-1", "+5", "0x5", "1_0", "F" * 40, "z", "", " 5", "5; a=b")
    },
    **{
        f"coded as {coding!r}": _in_chunks(coding)
        for coding in ("gzip, chunked", "chunked, chunked", "identity", "xchunked", "chunked,", "\x0bchunked")
    },
}
BEFORE = [
    b"",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 3,
    b"\r\n",
    b"SSH-2.0-x\r\n",
]


@dataclass(frozen=True)
class Said:
    """An answer of the API's, or of whoever answers in its place."""

    status: int
    headers: list[str]
    body: bytes
    framing: str = "its length"
    before: bytes = b""

    @property
    def raw(self) -> bytes:
        lines, rest = FRAMINGS[self.framing](self.body)
        head = "\r\n".join([f"HTTP/1.1 {self.status} So", *self.headers, *lines, "", ""])
        return self.before + head.encode("latin-1") + rest


def answers(
    bodies: st.SearchStrategy[bytes] = bodies,
    statuses: st.SearchStrategy[int] = statuses,
    framings: Iterable[str] = FRAMINGS,
) -> st.SearchStrategy[Said]:
    """Every status with every type and every body, framed in every way."""
    return st.builds(
        Said,
        statuses,
        st.lists(_headers(), max_size=4).map(lambda lists: [line for lines in lists for line in lines]),
        bodies,
        st.one_of(st.just("its length"), st.sampled_from(sorted(framings))),
        st.one_of(st.just(b""), st.sampled_from(BEFORE)),
    )
