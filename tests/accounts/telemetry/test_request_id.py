"""The request id, kept or new: in the response, at the API, and the same before and after a refresh."""

import re

import pytest

from accounts.telemetry.request_id import start_request_ids
from tests.browsers import Browser
from tests.demo_api.server import DemoApi, Fault

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
MADE = re.compile(r"[0-9a-f]{32}")
WELL_FORMED = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]")


def told(api: DemoApi) -> list[tuple[str, str]]:
    """The request id and the traceparent of each call to the API."""
    return [(call.headers["x-request-id"], call.headers["traceparent"]) for call in api.calls]


class TestRequestIds:
    @pytest.mark.parametrize("request_id", ["a", "4bf92f3577b34da6a3ce929d0e0e4736", "8f0c2f4e-7d7b-4a39", "x" * 64])
    def test_a_sane_one_is_taken_over(self, signed_in: Browser, api: DemoApi, request_id: str) -> None:
        api.forget_calls()

        page = signed_in.get("/protected/", headers={"X-Request-ID": request_id})

        assert page["X-Request-ID"] == request_id
        assert [named for named, _ in told(api)] == [request_id]

    @pytest.mark.parametrize(
        "request_id", ["", "two words", "x" * 65, "eyJh.eyJz.c2ln", "a,b", "a\tb", "é", "١٢٣", "a/../b", "a\n"]
    )
    def test_any_other_is_replaced(self, signed_in: Browser, api: DemoApi, request_id: str) -> None:
        api.forget_calls()

        page = signed_in.get("/protected/", headers={"X-Request-ID": request_id})

        assert MADE.fullmatch(page["X-Request-ID"])
        assert [named for named, _ in told(api)] == [page["X-Request-ID"]]

    def test_each_request_has_its_own(self, browser: Browser) -> None:
        assert browser.get("/")["X-Request-ID"] != browser.get("/")["X-Request-ID"]

    def test_all_that_follows_from_a_request_has_its_id(self, signed_in: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        api.forget_calls()

        page = signed_in.open_page()

        assert [call.path for call in api.calls] == ["/protected-route", "/auth/refresh", "/protected-route"]
        assert {named for named, _ in told(api)} == {page["X-Request-ID"]}

    def test_a_stream_goes_on_under_the_id_that_its_headers_told(self, signed_in: Browser, api: DemoApi) -> None:
        api.forget_calls()

        page = signed_in.get("/protected/stream/?rows=3&delay=0")
        b"".join(page)

        assert [named for named, _ in told(api)] == [page["X-Request-ID"]] * 3

    @pytest.mark.parametrize(
        "path", ["/", "/health/live", "/nowhere/", "/protected/", "/static/accounts/site.css", "/admin/"]
    )
    def test_every_answer_has_one(self, browser: Browser, path: str) -> None:
        answer = browser.get(path)
        answer.close()

        assert MADE.fullmatch(answer["X-Request-ID"])

    def test_an_answer_that_an_error_made_has_it_too(self, signed_in: Browser, api: DemoApi) -> None:
        api.fail("GET", "/protected-route", Fault.answer(500))

        page = signed_in.open_page()

        assert page.status_code == 503
        assert MADE.fullmatch(page["X-Request-ID"])

    def test_the_apis_own_does_not_reach_the_browser(self, signed_in: Browser, api: DemoApi) -> None:
        api.fail("GET", "/protected-route", Fault.answer(200, b"{}", headers={"X-Request-ID": "the-apis"}))

        answer = signed_in.get("/protected/api/protected-route", headers={"X-Request-ID": "ours"})

        assert answer["X-Request-ID"] == "ours"


class TestTraces:
    def test_a_trace_is_begun_where_there_is_none(self, signed_in: Browser, api: DemoApi) -> None:
        api.forget_calls()

        page = signed_in.open_page()

        [(_, traceparent)] = told(api)
        assert WELL_FORMED.fullmatch(traceparent)
        assert traceparent.split("-")[1] == page["X-Request-ID"], "one id to look for, where both are ours to choose"

    @pytest.mark.parametrize(
        ("traceparent", "flags"),
        [
            (f"00-{TRACE}-{PARENT}-01", "01"),
            (f"00-{TRACE}-{PARENT}-00", "00"),
            (f"00-{TRACE}-{PARENT}-ff", "01"),
            (f"cc-{TRACE}-{PARENT}-01", "01"),
            (f"cc-{TRACE}-{PARENT}-01-what-the-future-brings", "01"),
        ],
        ids=["sampled", "not sampled", "unknown flags", "a newer version", "a newer version that says more"],
    )
    def test_one_that_is_under_way_is_continued_with_a_parent_of_ours(
        self, signed_in: Browser, api: DemoApi, traceparent: str, flags: str
    ) -> None:
        api.forget_calls()

        page = signed_in.get("/protected/", headers={"traceparent": traceparent})

        [(request_id, sent)] = told(api)
        assert WELL_FORMED.fullmatch(sent)
        assert sent.startswith(f"00-{TRACE}-")
        assert sent.endswith(f"-{flags}")
        assert PARENT not in sent
        assert request_id == page["X-Request-ID"] != TRACE, "a trace has many requests"

    @pytest.mark.parametrize(
        "traceparent",
        [
            "",
            "00",
            f"ff-{TRACE}-{PARENT}-01",
            f"00-{TRACE}-{PARENT}-01-more",
            f"00-{TRACE}-{PARENT}-1",
            f"00-{TRACE}-{PARENT}-011",
            f"00-{TRACE.upper()}-{PARENT}-01",
            f"00-{'0' * 32}-{PARENT}-01",
            f"00-{TRACE}-{'0' * 16}-01",
            f"00-{TRACE}-{PARENT}-01,00-{TRACE}-{PARENT}-01",
            f"00_{TRACE}_{PARENT}_01",
            f"00-{TRACE}-{PARENT}-01 x",
        ],
    )
    def test_what_is_no_traceparent_is_not_passed_on(self, traceparent: str) -> None:
        begun = start_request_ids("", traceparent).traceparent

        assert WELL_FORMED.fullmatch(begun)
        assert TRACE not in begun.lower()


def test_a_script_cannot_tell_the_api_an_id_past_us(signed_in: Browser, api: DemoApi) -> None:
    api.forget_calls()

    answer = signed_in.get(
        "/protected/api/protected-route",
        headers={"X-Request-ID": "not sane", "traceparent": "nonsense", "tracestate": "vendor=1"},
    )

    [call] = api.calls
    assert call.headers["x-request-id"] == answer["X-Request-ID"]
    assert WELL_FORMED.fullmatch(call.headers["traceparent"])
    assert "tracestate" not in call.headers
