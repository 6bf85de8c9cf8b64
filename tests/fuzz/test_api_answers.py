"""Whatever the API answers: every status with every type and every body, framed in every way, to every kind of call."""

from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pytest_django import Settings

from accounts.exceptions import ApiUnavailable
from accounts.models import SessionRecord
from tests.browsers import Browser
from tests.fuzz.effort import fuzz
from tests.fuzz.raw_api import RawApi, said
from tests.fuzz.strategies import FRAMINGS, Said, answers, as_json, bodies, changed, statuses
from tests.fuzz.visitors import NEW_PAIR, PASSWORD, REFRESH, Visit, new_browser, read, signed_in

ROUTE = "/protected-route"
EXPORT = f"{ROUTE}/export.csv"
PROXY = f"/protected/api{ROUTE}"

#: Where each page's answer has to come from, and what it may be. A stream's headers have left when the API answers.
PAGES = {
    "/protected/": (200, 302, 502, 503),
    "/protected/stream/?rows=2&delay=0": (200, 302, 503),
    "/protected/events/?rows=2&delay=0": (200, 302, 503),
    "/protected/download/": (200, 302, 502, 503),
}
EXPIRED = said(b'{"message": "expired"}', status=401)
#: Those of a dialect for its refused tokens; with any other status the session stays.
REFUSALS = (401, 404)

#: Ways to frame a body whose end does not come while the connection is open.
ENDLESS = ("until it ends", "more than comes", "two lengths")

good_pairs = st.just(NEW_PAIR)
pairs = st.one_of(
    good_pairs,
    st.just(b'{"message": "no"}'),
    changed({"accessToken": "a", "refreshToken": "r", "expires_in": 60, "refresh_expires_in": 600}).map(as_json),
    bodies,
)
sign_in_statuses = st.one_of(st.just(200), st.sampled_from([400, 401, 403, 404, 409, 429]), statuses)


@pytest.fixture
def quick(settings: Settings) -> None:
    """An API that keeps us waiting does so for a moment."""
    settings.API_READ_TIMEOUT = 0.2


def check_session(browser: Browser, visit: Visit, refresh: Said) -> None:
    """The session is as it was, unless the API may have refused its refresh token."""
    ended = SessionRecord.objects.order_by("-signed_in_at").values_list("ended_at", flat=True)[0]
    if refresh.status not in REFUSALS:
        assert ended is None
        assert not visit.deletes_session
        browser.session()


@fuzz
@given(page=st.sampled_from(sorted(PAGES)), answer=answers(), refresh=answers(pairs, sign_in_statuses))
@example(page="/protected/", answer=Said(200, [], b"[" * 10_000), refresh=Said(200, [], b""))
@example(page="/protected/", answer=Said(200, [], b"{}", "a chunk of '-5'"), refresh=Said(200, [], b""))
@example(page="/protected/download/", answer=Said(200, [], b"{}", "a chunk of ' 5'"), refresh=Said(200, [], b""))
def test_a_page_is_a_page_or_says_that_the_api_is_at_fault(api: RawApi, page: str, answer: Said, refresh: Said) -> None:
    api.begin({ROUTE: answer.raw, EXPORT: answer.raw, "/auth/refresh": refresh.raw})
    browser = signed_in()

    response = browser.get(page)

    try:
        visit = read(response, PAGES[page])
    except ApiUnavailable:
        # The answer broke off in the middle, and the server breaks the connection: nobody takes it for a whole one.
        assert page == "/protected/download/"
        return
    check_session(browser, visit, refresh)


@fuzz
@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "DELETE"]),
    accept=st.sampled_from(["application/json", "text/html"]),
    answer=answers(),
    refresh=answers(pairs, sign_in_statuses),
)
@example(method="GET", accept="", answer=Said(200, ["Set-Cookie: session=theirs"], b"{}"), refresh=Said(200, [], b""))
@example(method="GET", accept="", answer=Said(777, [], b"{}"), refresh=Said(200, [], b""))
@example(
    method="GET", accept="", answer=Said(200, ["Link: a\0b"], b"{}", "its length twice"), refresh=Said(200, [], b"")
)
def test_what_passes_through_is_the_apis_own_or_says_that_the_api_is_at_fault(
    api: RawApi, method: str, accept: str, answer: Said, refresh: Said
) -> None:
    api.begin({ROUTE: answer.raw, "/auth/refresh": refresh.raw})
    browser = signed_in()

    response = browser.client.generic(method, PROXY, headers={"accept": accept})

    try:
        visit = read(response, range(200, 600))
    except ApiUnavailable:
        return
    if visit.headers.get("Content-Security-Policy") != "sandbox; default-src 'none'":
        assert visit.status in (302, 401, 502, 503)
    assert "X-Injected" not in visit.headers or "X-Injected: yes" in answer.headers
    assert "Set-Cookie" not in visit.headers
    assert not set(visit.cookies) - {"session", "csrftoken"}
    check_session(browser, visit, refresh)


@fuzz
@given(
    answer=answers(framings=[framing for framing in FRAMINGS if framing not in ENDLESS]),
    left=st.sampled_from([b"", said(b'{"data": "of Ada"}'), b"\r\n", b"x"]),
    page=st.sampled_from(["/protected/", PROXY, "/protected/download/"]),
)
def test_what_is_left_on_a_connection_is_nobodys_answer(
    api: RawApi, quick: None, answer: Said, left: bytes, page: str
) -> None:
    """The API keeps the connection open, and the next one who uses it is somebody else."""
    raw = answer.raw + left
    api.begin({ROUTE: raw, EXPORT: raw, "/auth/refresh": said(NEW_PAIR)}, keeps_open=True)
    with suppress(ApiUnavailable):
        read(signed_in().get(page), range(200, 600))
    api.begin({ROUTE: said(b'{"data": "of Grace"}')}, keeps_open=True)

    visit = read(signed_in().open_page(), (200, 503))

    assert b"of Ada" not in visit.body
    assert visit.status == 503 or b"of Grace" in visit.body


@fuzz
@given(refresh=answers(pairs, sign_in_statuses))
def test_a_refresh_brings_a_new_pair_or_leaves_the_old_one(api: RawApi, refresh: Said) -> None:
    api.begin({ROUTE: EXPIRED, "/auth/refresh": refresh.raw})
    browser = signed_in()

    visit = read(browser.open_page(), (302, 502, 503))

    check_session(browser, visit, refresh)
    if visit.status == 503:
        assert browser.session().tokens.refresh == REFRESH
        assert 1 <= int(visit.headers["Retry-After"]) <= 60


@fuzz
@given(answer=answers(pairs, sign_in_statuses))
def test_a_sign_in_succeeds_or_says_why_not(api: RawApi, answer: Said) -> None:
    api.begin({"/auth/login": answer.raw})
    browser = new_browser()

    visit = read(browser.sign_in("ada@example.com", PASSWORD), (200, 302, 502, 503))

    assert bool(visit.cookies.get("session")) == (visit.status == 302)
    if visit.status == 302:
        assert browser.session().user.name


@fuzz
@given(answer=answers())
def test_a_sign_out_always_works(api: RawApi, answer: Said) -> None:
    api.begin({"/auth/logout": answer.raw})
    browser = signed_in()

    visit = read(browser.sign_out(), (302,))

    assert visit.deletes_session
    assert [heard.path for heard in api.heard] == ["/auth/logout"]
