"""Whatever a browser sends, or somebody who is none: to every address, with every method, header, cookie and body."""

from dataclasses import replace
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

from hypothesis import assume, example, given
from hypothesis import strategies as st

from tests.fuzz.effort import fuzz
from tests.fuzz.raw_api import RawApi, said
from tests.fuzz.request_strategies import ADDRESSES, NEXT_PAGES, Asked, cookies, requests
from tests.fuzz.visitors import PASSWORD, Visit, new_browser, new_session, read

#: What the site answers while the API is well. 501 is for an upgrade, 411 for a body of unknown length, 206 and 416 for
#: parts of static files.
DOCUMENTED = (200, 204, 206, 301, 302, 304, 400, 401, 403, 404, 405, 411, 416, 501)
PAIR = said(b'{"accessToken": "a", "refreshToken": "r"}')
ROWS = said(b'{"data": [{"station": "North Pier"}]}')
WELL = {"/auth/login": PAIR, "/protected-route": ROWS}

rows = st.one_of(st.integers(-1, 4).map(str), st.sampled_from(["1001", "9" * 5000, "1_0", "\u0663", "nan", "1.5", ""]))
#: None that a stream would wait for.
delays = st.sampled_from(["0", "-1", "0.001", "nan", "inf", "61", "-0", "1e-400", "0x1", " 0 ", "\0", "0_0", "\uff10"])
next_pages = st.one_of(
    st.text(),
    st.sampled_from(NEXT_PAGES),
    st.builds(str.__add__, st.sampled_from(NEXT_PAGES), st.text(max_size=5)),
    st.builds(str.__add__, st.text(max_size=3), st.sampled_from(NEXT_PAGES)),
)


def ask(environ: dict[str, Any], *presented: str, signed_in: bool) -> Visit:
    """The answer to a request with these cookies, and with a good session if it is to be `signed_in`."""
    own = [f"session={new_session().seal_for_cookie()}"] if signed_in else []

    visit = read(new_browser().client.request(HTTP_COOKIE="; ".join([*own, *presented]), **environ), DOCUMENTED)

    assert visit.status != 501 or "HTTP_UPGRADE" in environ
    assert "X-Injected" not in visit.headers
    assert leads_here(visit.headers.get("Location", ""))
    return visit


def leads_here(location: str) -> bool:
    """Whether a browser that is sent to `location` stays on this site. It takes a backslash for a slash."""
    spelled = "".join(character for character in location if character not in "\t\r\n").replace("\\", "/")
    parts = urlsplit(urljoin("http://testserver/accounts/login/", spelled.lstrip("".join(map(chr, range(33))))))
    return parts.scheme in ("http", "https") and parts.hostname == "testserver"


def is_stream(asked: Asked) -> bool:
    return asked.path.startswith(("/protected/stream", "/protected/events", "/protected/trace/events"))


@fuzz
@given(asked=requests, signed_in=st.booleans())
def test_every_request_has_a_documented_answer(api: RawApi, asked: Asked, signed_in: bool) -> None:
    assume(not is_stream(asked))
    api.begin(WELL, keeps_open=True)

    ask(asked.environ, *asked.cookies, signed_in=signed_in)


@fuzz
@given(asked=requests, page=st.sampled_from(["stream", "events"]), rows=rows, delay=delays, last=rows)
def test_a_stream_of_any_size_has_a_documented_answer(
    api: RawApi, asked: Asked, page: str, rows: str, delay: str, last: str
) -> None:
    api.begin(WELL, keeps_open=True)
    query = urlencode({"rows": rows, "delay": delay})
    stream = replace(asked, method="GET", path=f"/protected/{page}/", query=query)

    visit = ask({**stream.environ, "HTTP_LAST_EVENT_ID": last}, *asked.cookies, signed_in=True)

    if visit.status == 200:
        assert len(api.heard) == visit.body.count(b"North Pier")


@fuzz
@given(next_page=next_pages, signed_in=st.booleans())
def test_next_leads_nowhere_else(api: RawApi, next_page: str, signed_in: bool) -> None:
    api.begin(WELL, keeps_open=True)
    form = {"username": "ada", "password": PASSWORD, "next": next_page}
    session = {"session": new_session().seal_for_cookie()} if signed_in else {}

    page = read(new_browser(session).get(f"/accounts/login/?{urlencode({'next': next_page})}"), (200, 302))
    posted = read(new_browser(session).post("/accounts/login/", form), (302,))

    assert leads_here(page.headers.get("Location", ""))
    assert leads_here(posted.headers["Location"])


@fuzz
@given(
    first=cookies,
    many=cookies,
    times=st.sampled_from([1, 500]),
    address=st.sampled_from(["/accounts/logout/", "/accounts/login/", *ADDRESSES]),
    method=st.sampled_from(["POST", "GET"]),
    signed_in=st.booleans(),
)
@example(first=[], many=["session-new-[]=x"], times=1, address="/accounts/logout/", method="POST", signed_in=True)
def test_cookies_of_every_name_and_number_have_a_documented_answer(
    api: RawApi, first: list[str], many: list[str], times: int, address: str, method: str, signed_in: bool
) -> None:
    assume("stream" not in address and "events" not in address)
    api.begin(WELL, keeps_open=True)
    form = urlencode({"username": "ada", "password": PASSWORD}).encode()
    asked = Asked(method, address, "", {}, [], "application/x-www-form-urlencoded", form)

    visit = ask(asked.environ, *first, *many * times, signed_in=signed_in)

    assert len(visit.cookies) < 20
