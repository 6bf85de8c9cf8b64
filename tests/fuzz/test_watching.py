"""What watches the site - drawings, ids of requests, metrics, the admin - whatever there is to see, and to be asked."""

import re
from contextlib import suppress
from urllib.parse import urlencode

import pytest
from django.contrib.auth import get_user_model
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pytest_django import Settings

from accounts.exceptions import ApiUnavailable
from accounts.history import traced_requests as traces
from accounts.history.traced_requests import KEPT_REQUESTS, TracedRequestWriter
from accounts.models import SessionRecord, TracedRequest
from protected import trace
from tests.browsers import Browser
from tests.fuzz.effort import fuzz
from tests.fuzz.raw_api import RawApi, said
from tests.fuzz.request_strategies import Asked, queries, requests
from tests.fuzz.strategies import Said, answers, latin
from tests.fuzz.test_requests import is_stream
from tests.fuzz.visitors import METRICS_TOKEN, NEW_PAIR, REQUEST_ID, new_browser, new_session, read, signed_in

ROUTE = "/protected-route"
SESSIONS = "/admin/accounts/sessionrecord/"
#: Of our own making: our id, and a trace that was begun or goes on.
WELL_FORMED = re.compile("00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]")

request_ids = st.one_of(latin, st.from_regex(REQUEST_ID, fullmatch=True), st.sampled_from(["a.b", "x" * 65, "a\n", ""]))
traceparents = st.one_of(
    latin,
    st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?", fullmatch=True),
    st.sampled_from(
        ["", f"00-{'0' * 32}-{'1' * 16}-00", f"00-{'1' * 32}-{'0' * 16}-00", f"ff-{'1' * 32}-{'1' * 16}-00"]
    ),
)
credentials = st.one_of(
    latin,
    st.builds(
        lambda before, after: f"{before}{METRICS_TOKEN}{after}",
        st.sampled_from(["Bearer ", "bearer\t", "Bearer", "Basic ", "Bearer  ", "Bearer \xa0", "Bearer x"]),
        st.one_of(st.sampled_from(["", " ", "\xa0", "\0"]), latin),
    ),
)
asked_of_the_admin = st.one_of(
    queries,
    st.lists(
        st.tuples(
            st.sampled_from(
                [
                    *(
                        "q",
                        "o",
                        "p",
                        "e",
                        "all",
                        "state",
                        "events",
                        "end_reason__exact",
                        "end_reason__isnull",
                        "_facets",
                    ),
                    *("signed_in_at__gte", "signed_in_at__lt", "sealed__startswith", "id__in", "_popup", "_to_field"),
                    *("action", "_selected_action", "select_across", "confirmed", "index", "_changelist_filters"),
                ]
            ),
            st.one_of(
                st.sampled_from(
                    ["", "1", "-1", "9" * 5000, "active", "2026-01-01", "2026-99-99", "end_sessions", "\0"]
                ),
                st.text(max_size=20),
            ),
        ),
        max_size=5,
    ).map(urlencode),
)


class AtOnce(TracedRequestWriter):
    """Written in the transaction of the test, and not some time soon by another thread."""

    def add(self, row: TracedRequest) -> None:
        self.insert([row], "default")


@pytest.fixture
def recorded(api: RawApi, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.API_TRACE = True
    monkeypatch.setattr(traces, "trace_writer", AtOnce())
    # A page that is open for a moment is told of what there is.
    monkeypatch.setattr(trace, "MAX_SECONDS", 0.05)
    monkeypatch.setattr(trace, "_POLL_SECONDS", 0.01)


@fuzz
@given(asked=requests, answer=answers(), after=st.one_of(latin, st.sampled_from(["0", "-1", "9" * 5000, "\xb2"])))
@example(asked=Asked("GET", "/protected/", "", {}, [], "", b""), answer=Said(200, [], b"{}"), after="0")
def test_whatever_happened_can_be_drawn(api: RawApi, recorded: None, asked: Asked, answer: Said, after: str) -> None:
    assume(not is_stream(asked))
    api.begin({ROUTE: answer.raw, "/auth/login": said(NEW_PAIR), "/auth/refresh": said(NEW_PAIR)})
    session = new_session()
    cookie = {"session": session.seal_for_cookie()}
    opened = False
    with suppress(ApiUnavailable):
        response = new_browser().client.request(HTTP_COOKIE=f"session={cookie['session']}", **asked.environ)
        opened = read(response, range(200, 600)).status == 200 and asked.path == "/protected/"

    page = read(new_browser(cookie).get("/protected/trace/"), (200, 302))
    news = read(new_browser(cookie).get("/protected/trace/events/", headers={"Last-Event-ID": after}), (200, 302))

    assert page.status == news.status
    if page.status == 200:
        assert page.body.count(b"<summary>") == len(TracedRequest.objects.of(session.id, KEPT_REQUESTS))
        assert page.body.count(b"<summary>") == 1 or not opened


@fuzz
@given(request_id=request_ids, traceparent=traceparents)
@example(request_id="a-sane-one", traceparent=f"00-{'1' * 32}-{'2' * 16}-01")
def test_only_a_sane_id_is_taken_over(api: RawApi, request_id: str, traceparent: str) -> None:
    api.begin({}, keeps_open=True)
    browser = signed_in()

    visit = read(browser.get("/protected/", headers={"X-Request-ID": request_id, "traceparent": traceparent}), (200,))

    told = visit.headers["X-Request-ID"]
    assert (told == request_id) == bool(REQUEST_ID.fullmatch(request_id))
    (heard,) = api.heard
    assert heard.header("x-request-id") == told
    assert WELL_FORMED.fullmatch(heard.header("traceparent"))


@fuzz
@given(given=credentials)
@example(given=f"Bearer {METRICS_TOKEN}")
def test_metrics_are_for_who_knows_the_token(api: RawApi, given: str) -> None:
    visit = read(new_browser().get("/metrics", headers={"Authorization": given}), (200, 404))

    scheme, _, token = given.partition(" ")
    assert (visit.status == 200) == (scheme.lower() == "bearer" and token.strip() == METRICS_TOKEN)


@pytest.fixture
def staff(api: RawApi) -> Browser:
    browser = new_browser()
    browser.client.force_login(get_user_model().objects.create_superuser("harbour-master"))
    return browser


@fuzz
@given(
    page=st.sampled_from([SESSIONS, f"{SESSIONS}{{id}}/change/", f"{SESSIONS}{{id}}/history/"]),
    other=st.one_of(st.just(""), latin),
    query=asked_of_the_admin,
    form=asked_of_the_admin,
    method=st.sampled_from(["GET", "POST"]),
)
def test_staff_can_ask_the_admin_anything(
    api: RawApi, staff: Browser, page: str, other: str, query: str, form: str, method: str
) -> None:
    known = new_session()
    path = page.format(id=other or known.id)
    asked = Asked(method, path, query, {}, [], "application/x-www-form-urlencoded", form.encode())

    read(staff.client.request(**asked.environ), (200, 302, 400, 403, 404, 405))

    assert SessionRecord.objects.filter(pk=known.id).exists()
