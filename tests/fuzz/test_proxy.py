"""What reaches the API through /protected/api/, whatever a script puts into path, query, headers and body."""

from urllib.parse import unquote, urlencode

from hypothesis import assume, example, given
from hypothesis import strategies as st

from protected.proxy import PASSED_TO_THE_API
from tests.fuzz.effort import fuzz
from tests.fuzz.raw_api import Heard, RawApi, said
from tests.fuzz.request_strategies import Asked, queries, request_bodies, request_headers
from tests.fuzz.strategies import latin
from tests.fuzz.visitors import ACCESS, new_browser, new_session, read, signed_in

PROXY = "/protected/api"
ALLOWED = "/protected-route"
OK = said(b'{"data": []}')
#: Besides what the proxy passes on, this site's own.
HEADERS = {
    *map(str.lower, PASSED_TO_THE_API),
    "authorization",
    "x-forwarded-for",
    "x-request-id",
    "traceparent",
    "user-agent",
    "host",
    "content-length",
}
#: The proxy's own refusals, what the middleware answers for it, and the API's 200.
STATUSES = (200, 301, 400, 401, 403, 404, 405, 411, 501)

dots = st.sampled_from(
    ["..", ".", "%2e%2e", ".%2E", "%252e%252e", "", "%2f", "%5c", "\\", "..;", "%00", "%c0%ae", "auth", "login"]
)
ends = st.builds(
    lambda start, pieces, rest: start + "/".join(pieces) + rest,
    st.sampled_from([f"{ALLOWED}/", ALLOWED, "/", "//", "/http://evil.example", "/protected-route%2f", "/x/.."]),
    st.lists(st.one_of(dots, st.text(max_size=4)), max_size=5),
    st.one_of(
        st.just(""), st.sampled_from(["?", "#", ";a=b", "%3f", "%23", " ", "@evil.example"]), st.text(max_size=3)
    ),
)
methods = st.sampled_from(
    ["GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS", "TRACE", "CONNECT", "FOO", "get"]
)


def only_call(api: RawApi) -> Heard | None:
    """What the API was asked, once; None for nothing."""
    assert len(api.heard) <= 1
    return api.heard[0] if api.heard else None


def means(path: str) -> str:
    """What a path means to the most obliging of servers: decoded until there is nothing left to decode."""
    while (decoded := unquote(path)) != path:
        path = decoded
    return path.replace("\\", "/")


@fuzz
@given(end=ends, method=methods, query=queries, headers=request_headers, content=request_bodies, tells=st.booleans())
@example(end="/protected-route/../auth/login", method="GET", query="", headers={}, content=b"", tells=False)
@example(end="/protected-route/%252e%252e/auth/login", method="GET", query="", headers={}, content=b"", tells=True)
def test_nothing_but_what_is_allowed_reaches_the_api(
    api: RawApi, end: str, method: str, query: str, headers: dict[str, str], content: bytes, tells: bool
) -> None:
    """`end` is what stands in the request line. Not all servers tell it (`tells`)."""
    api.begin({}, keeps_open=True)
    raw = f"{PROXY}{end}".encode().decode("latin-1")
    sent = {"RAW_URI": f"{raw}?{query}"} if tells else {}
    decoded = unquote(raw, "latin-1")
    asked = Asked(method, decoded, query, {**headers, **sent}, [], "application/json", content)
    cookies = f"session={new_session().seal_for_cookie()}; tracker=7"

    read(new_browser().client.request(HTTP_COOKIE=cookies, **asked.environ), STATUSES)

    heard = only_call(api)
    if heard is None:
        return
    assert heard.method in ("GET", "HEAD", "POST", "DELETE")
    assert f"{means(heard.path)}/".startswith(f"{ALLOWED}/")
    assert "/../" not in f"{means(heard.path)}/"
    assert "//" not in means(heard.path)
    assert heard.path.isascii()
    assert heard.path.isprintable()
    assert {name for name, _ in heard.headers} <= HEADERS - {"cookie"}
    assert heard.header("authorization") == f"Bearer {ACCESS}"
    assert heard.body == content


@fuzz
@given(name=st.sampled_from(sorted(PASSED_TO_THE_API)), value=latin)
def test_a_header_arrives_as_it_is_or_not_at_all(api: RawApi, name: str, value: str) -> None:
    assume(name not in ("Content-Type", "Content-Encoding"))
    api.begin({}, keeps_open=True)
    browser = signed_in()

    visit = read(browser.client.get(f"{PROXY}{ALLOWED}", headers={name: value}), (200, 400))

    heard = only_call(api)
    assert (visit.status == 200) == (heard is not None)
    if heard is not None:
        assert heard.header(name.lower()).encode("latin-1").strip() == value.strip().encode("latin-1")


@fuzz
@given(pairs=st.lists(st.tuples(st.text(min_size=1, max_size=9), st.text(max_size=9)), min_size=1, max_size=4))
def test_a_query_arrives_as_it_was_sent(api: RawApi, pairs: list[tuple[str, str]]) -> None:
    api.begin({}, keeps_open=True)
    query = urlencode(pairs)
    browser = signed_in()

    read(browser.client.get(f"{PROXY}{ALLOWED}?{query}"), (200,))

    heard = only_call(api)
    assert heard is not None
    assert heard.target == f"{ALLOWED}?{query}"
