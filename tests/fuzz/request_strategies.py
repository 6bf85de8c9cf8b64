"""What browsers and attackers may send, as strategies of Hypothesis."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.test.client import FakePayload
from hypothesis import strategies as st

from tests.fuzz.strategies import bodies, latin

METHODS = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "PROPFIND",
    "get",
    "G\xcbT",
    "",
]
ADDRESSES = [
    "/",
    "/accounts/login/",
    "/accounts/callback/",
    "/accounts/logout/",
    "/accounts/logout/provider/",
    "/accounts/session/",
    "/accounts/session/update/",
    "/protected/",
    "/protected/stream/",
    "/protected/events/",
    "/protected/download/",
    "/protected/script/",
    "/protected/trace/",
    "/protected/trace/events/",
    "/protected/api/protected-route",
    "/accounts/doctor/",
    "/metrics",
    "/admin/",
    "/admin/login/",
    "/health/live",
    "/health/ready",
    "/static/accounts/site.css",
]
_PIECES = [
    "..",
    ".",
    "",
    "%2e%2e",
    "%00",
    "%0d%0a",
    "\\",
    "\0",
    "\r\n",
    "\xff",
    "\xc3\xa9",
    "%",
    "%zz",
    "?",
    "#",
    ";",
    "~",
    "a" * 9000,
]
paths = st.one_of(
    st.sampled_from(ADDRESSES),
    st.builds(lambda address, rest: address + rest, st.sampled_from(ADDRESSES), latin),
    st.builds(
        lambda address, pieces: address + "/".join(pieces),
        st.sampled_from(ADDRESSES),
        st.lists(st.one_of(st.sampled_from(_PIECES), latin), max_size=5),
    ),
    latin.map(lambda text: "/" + text),
)

NEXT_PAGES = [
    "/protected/",
    "//evil.example",
    "https://evil.example/",
    "/\\evil.example",
    "\\/evil.example",
    "http:///evil.example",
    "javascript:alert(1)",
    "/%0d%0aX-Injected:%20yes",
    "/\r\nX-Injected: yes",
    "//[",
    "http://[::1",
    "http://testserver:99999/",
    "/" + "\u6f6e" * 700,
    "/" + "\u6f6e" * 3000,
    "/" + "a" * 20_000,
    "\x00/",
    "\x08//evil.example",
    "/\u202e",
]
_VALUES = [*NEXT_PAGES, "1", "0", "-1", "1e400", "nan", "9" * 5000, "1_0", "\u0663", "", "true", "%", "+"]
_NAMES = [
    "next",
    "ended",
    "rows",
    "delay",
    "bytes",
    "code",
    "state",
    "iss",
    "error",
    "error_description",
    "q",
    "o",
    "p",
]
pairs_of_text = st.lists(
    st.tuples(st.one_of(st.sampled_from(_NAMES), latin), st.one_of(st.sampled_from(_VALUES), st.text(max_size=30))),
    max_size=4,
)
#: A query as it was sent: encoded as it should be, or bytes of any kind.
queries = st.one_of(
    st.just(""),
    pairs_of_text.map(urlencode),
    latin,
    st.sampled_from(
        ["&" * 5000, "a&" * 1100, "next=%ff%fe", "%", "=", "next[]=/", "rows=1;delay=0", "a=" + "b" * 9000]
    ),
)

_REQUEST_HEADERS: dict[str, list[str]] = {
    "HTTP_HOST": [
        "testserver",
        "evil.example",
        "testserver:99999",
        "testserver:x",
        "[::1",
        "",
        "a b",
        "testserver@evil.example",
    ],
    "HTTP_X_FORWARDED_HOST": ["evil.example"],
    "HTTP_X_FORWARDED_PROTO": ["https", "javascript", "https,http"],
    "HTTP_X_FORWARDED_FOR": [
        "203.0.113.5",
        "x",
        ",,,",
        "::1%eth0",
        "1.2.3.4, " * 500,
        "::ffff:1.2.3.4",
        "999.1.1.1",
        "[::1]:80",
    ],
    "HTTP_X_FORWARDED_PORT": ["0", "x"],
    "HTTP_FORWARDED": ["for=x;host=evil.example;proto=https"],
    "HTTP_ACCEPT": ["application/json", "text/html", "*/*;q=" + "9" * 500, "", ","],
    "HTTP_ACCEPT_ENCODING": ["gzip", "br;q=x", "identity;q=0, *;q=0"],
    "HTTP_ACCEPT_LANGUAGE": ["de", "x" * 5000, "../../etc", "en-" * 300],
    "HTTP_SEC_FETCH_MODE": ["cors", "navigate"],
    "HTTP_HX_REQUEST": ["true", "false"],
    "HTTP_HX_CURRENT_URL": NEXT_PAGES[:-6],
    "HTTP_REFERER": NEXT_PAGES[:-6],
    "HTTP_ORIGIN": ["null", "https://evil.example", "http://testserver", "http://["],
    "HTTP_LAST_EVENT_ID": ["1", "-1", "9" * 5000, "\0"],
    "HTTP_IF_MODIFIED_SINCE": ["Mon, 99 Foo 9999", "0", "Sat, 01 Jan 0000 00:00:00 GMT"],
    "HTTP_IF_NONE_MATCH": ["*", '"', "W/"],
    "HTTP_IF_MATCH": ["*", "\xa0x"],
    "HTTP_RANGE": ["bytes=0-", "bytes=-1", "bytes=9-1", "bytes=" + "0-1," * 2000, "x"],
    "HTTP_PREFER": ["\xa0x", " x", "\x85", "x\r\nX-Injected: yes", "\x00"],
    "HTTP_IDEMPOTENCY_KEY": ["1"],
    "HTTP_USER_AGENT": ["\0", "<script>", "x" * 9000, "\xff\xfe"],
    "HTTP_AUTHORIZATION": ["Bearer stolen", "Basic " + "A" * 500],
    "HTTP_CONNECTION": ["Upgrade", "Authorization, Cookie", "close"],
    "HTTP_UPGRADE": ["websocket", "h2c", ""],
    "HTTP_TRANSFER_ENCODING": ["chunked", "identity"],
    "HTTP_EXPECT": ["100-continue", "x"],
    "HTTP_X_CSRFTOKEN": ["c" * 32, "\xff" * 32, "", "c" * 5000],
    "HTTP_X_HTTP_METHOD_OVERRIDE": ["DELETE"],
    "HTTP_TE": ["trailers"],
    "HTTP_X_INJECTED": ["yes"],
    "HTTP_X_REQUEST_ID": ["a-sane-one", "", "a.b.c", "x" * 65, "\xb2", "x\n", "x\r\nX-Injected: yes"],
    "HTTP_TRACEPARENT": [f"00-{'a' * 32}-{'b' * 16}-01", f"00-{'0' * 32}-{'b' * 16}-01", "00-", "ff-" + "a" * 50, "\0"],
    "HTTP_TRACESTATE": ["a=b", "x" * 600],
    "REMOTE_ADDR": ["127.0.0.1", "", "::1", "unix:", "x"],
    "RAW_URI": ["/", "/%2f", "*", "http://evil.example/"],
}
request_headers: st.SearchStrategy[dict[str, str]] = st.lists(
    st.sampled_from(sorted(_REQUEST_HEADERS)).flatmap(
        lambda name: st.tuples(st.just(name), st.one_of(st.sampled_from(_REQUEST_HEADERS[name]), latin))
    ),
    max_size=5,
).map(dict)

#: Without a charset: see test_charsets_over_the_wire.
content_types = st.sampled_from(
    [
        "application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "multipart/form-data; boundary=\xff",
        "multipart/form-data",
        "multipart/form-data; boundary=" + "x" * 300,
        "text/plain",
        "",
        ";",
        "\xff",
        "application/json;" + "a=b;" * 1000,
    ]
)
_MULTIPART = [
    b"--x\r\n",
    b'Content-Disposition: form-data; name="next"\r\n\r\n//evil.example\r\n',
    b'Content-Disposition: form-data; name="username"; filename="\x00/../a"\r\n\r\nada\r\n',
    b'Content-Disposition: form-data; name="password"\r\nContent-Transfer-Encoding: base64\r\n\r\n!\r\n',
    b"Content-Disposition: form-data\r\n",
    b"Content-Type: text/plain; charset=undefined\r\n",
    b"\r\n",
    b"--x--\r\n",
]
forms = pairs_of_text.map(lambda pairs: urlencode([*pairs, ("username", "ada"), ("password", "x")]).encode())
request_bodies = st.one_of(
    st.just(b""),
    forms,
    st.lists(st.sampled_from(_MULTIPART), max_size=10).map(b"".join),
    bodies,
    st.just(b"a=1&" * 1500),
)

_COOKIE_NAMES = [
    "csrftoken",
    "sessionid",
    "messages",
    "session-1",
    "session-id-token",
    "session-new-",
    "session-sign-in-",
]
_COOKIE_VALUES = [
    '"\\000"',
    '"\\377',
    "2.",
    "9.x",
    "=",
    "\xff",
    "\xe9;\xe9",
    "a" * 4000,
    "{}",
    "\0",
    "$Version=1",
    "x" * 32,
]
#: Pairs of a Cookie header; a text may hold several.
cookies = st.lists(
    st.builds(
        lambda name, more, value: f"{name}{more}={value}",
        st.sampled_from([*_COOKIE_NAMES, ""]),
        st.one_of(st.sampled_from(["", "0123abcd", "\xe9", "[]", " ", "\x01", "-", "1"]), latin),
        st.one_of(st.sampled_from(_COOKIE_VALUES), latin),
    ),
    max_size=6,
)


@dataclass(frozen=True)
class Asked:
    """A request, as a server hands it to the site: text of bytes (PEP 3333)."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    cookies: list[str]
    content_type: str
    body: bytes

    @property
    def environ(self) -> dict[str, Any]:
        """For the test client. The cookies are not in it."""
        return {
            "REQUEST_METHOD": self.method,
            "PATH_INFO": self.path,
            "QUERY_STRING": self.query,
            "CONTENT_TYPE": self.content_type,
            "CONTENT_LENGTH": str(len(self.body)),
            "wsgi.input": FakePayload(self.body),
            **self.headers,
        }


requests = st.builds(
    Asked,
    method=st.one_of(
        st.sampled_from(["GET", "POST"]), st.sampled_from(METHODS), latin.filter(lambda text: " " not in text)
    ),
    path=paths,
    query=queries,
    headers=request_headers,
    cookies=cookies,
    content_type=content_types,
    body=request_bodies,
)
