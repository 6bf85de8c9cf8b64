"""A refusal that may come from a gateway in front of the API ends no session; the API's own refusal does."""

import json
import logging
from typing import Any

import pytest

from accounts.models import EndReason, SessionRecord
from accounts.rotation.refusal_check import probe_beside, says_the_same
from accounts.upstream.calls import ApiAnswer, ApiCall
from tests.accounts.at_provider import skip_retry_pause
from tests.browsers import Browser, cookies_set
from tests.demo_api.server import DemoApi, Fault

GATEWAYS: dict[str, tuple[int, dict[str, Any]]] = {
    "no route": (404, {"message": "no Route matched with those values"}),
    "unauthorized": (401, {"message": "Unauthorized"}),
    "not found, in another shape": (404, {"message": "Not Found", "statusCode": 404, "error": "Not Found"}),
    "no API key": (401, {"message": "No API key found in request", "request_id": "6d7f1b"}),
    "a token of its own": (401, {"message": "Unauthorized", "error": "invalid_token"}),
}
REFUSAL = {"message": "Refresh token not found in database."}


def put_gateway_before(api: DemoApi, status: int, body: dict[str, Any]) -> None:
    for method in ("GET", "POST"):
        api.fail(method, "/", Fault.answer(status, body), times=None)


class TestAGatewayInTheApisPlace:
    @pytest.mark.parametrize(("status", "body"), GATEWAYS.values(), ids=GATEWAYS)
    def test_ends_no_session(
        self, signed_in: Browser, api: DemoApi, caplog: pytest.LogCaptureFixture, status: int, body: dict[str, Any]
    ) -> None:
        api.expire_access_tokens()
        put_gateway_before(api, status, body)

        page = signed_in.open_page()

        if status == 401:
            assert page.status_code == 503
            assert not cookies_set(page)
            assert "not from the API itself" in caplog.text
        assert SessionRecord.objects.get().ended_at is None
        api.heal()
        skip_retry_pause()
        assert signed_in.is_signed_in()
        assert api.count("POST", "/auth/refresh", 200) == 1

    @pytest.mark.parametrize(("status", "body"), GATEWAYS.values(), ids=GATEWAYS)
    def test_ends_no_session_whose_token_has_run_out_by_our_clock(
        self, api: DemoApi, signed_in: Browser, status: int, body: dict[str, Any]
    ) -> None:
        api.expire_access_tokens()
        signed_in.age(120)
        put_gateway_before(api, status, body)

        assert signed_in.open_page().status_code == 503

        assert SessionRecord.objects.get().ended_at is None
        api.heal()
        skip_retry_pause()
        assert signed_in.is_signed_in()

    def test_that_comes_and_goes_during_the_check_ends_no_session(self, signed_in: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        api.fail("POST", "/auth/refresh", Fault.answer(404, GATEWAYS["no route"][1]), times=1)

        assert signed_in.open_page().status_code == 200

        assert (api.count("POST", "/auth/refresh", 200), signed_in.session().generation) == (1, 1)

    @pytest.mark.parametrize(
        "fault",
        [Fault.answer(503), Fault.answer(429, {"message": "Slow down."}), Fault.reset(), Fault.lose_answer()],
        ids=["503", "429", "a reset", "a lost response"],
    )
    def test_a_check_without_a_usable_response_ends_no_session(
        self, signed_in: Browser, api: DemoApi, fault: Fault
    ) -> None:
        api.expire_access_tokens()
        api.fail("POST", "/auth/refresh", Fault.answer(401, REFUSAL), times=None)
        api.fail("POST", "/auth/no-such-path-", fault, times=None)

        page = signed_in.open_page()

        assert page.status_code == 503
        assert not cookies_set(page)
        api.heal()
        skip_retry_pause()
        assert signed_in.is_signed_in()


class TestTheApisOwnRefusal:
    @pytest.mark.parametrize("nowhere", [(404, b"<h1>Not Found</h1>", "text/html"), (405, b"", "text/plain")])
    def test_ends_the_session(self, signed_in: Browser, api: DemoApi, nowhere: tuple[int, bytes, str]) -> None:
        api.expire_access_tokens()
        api.fail("POST", "/auth/refresh", Fault.answer(404, REFUSAL), times=None)
        api.fail("POST", "/auth/no-such-path-", Fault.answer(*nowhere), times=None)

        page = signed_in.open_page()

        assert (page.status_code, "ended=1" in page["Location"]) == (302, True)
        assert SessionRecord.objects.get().end_reason == EndReason.REFUSED

    def test_with_the_same_status_as_an_unknown_path_but_other_words_ends_the_session(
        self, signed_in: Browser, api: DemoApi
    ) -> None:
        api.expire_access_tokens()
        api.fail("POST", "/auth/refresh", Fault.answer(404, REFUSAL), times=None)
        api.fail("POST", "/auth/no-such-path-", Fault.answer(404, {"message": "Cannot POST"}), times=None)

        assert signed_in.open_page().status_code == 302

    @pytest.mark.parametrize("status", [200, 400, 401, 403])
    @pytest.mark.parametrize("code", ["bad_refresh_token", "interaction_required"])
    def test_with_an_error_code_needs_no_check(self, signed_in: Browser, api: DemoApi, status: int, code: str) -> None:
        api.expire_access_tokens()
        api.fail("POST", "/auth/refresh", Fault.answer(status, {"error": code}), times=None)

        assert signed_in.open_page().status_code == 302

        assert SessionRecord.objects.get().end_reason == EndReason.REFUSED
        assert api.count("POST", "/auth/refresh") == 1


class TestTheLog:
    def test_names_the_error_code_of_an_unknown_response(
        self, signed_in: Browser, api: DemoApi, caplog: pytest.LogCaptureFixture
    ) -> None:
        api.expire_access_tokens()
        secret = "Bearer 5ecret"
        api.fail("POST", "/auth/refresh", Fault.answer(403, {"error": "out_of_ink", "error_description": secret}))

        with caplog.at_level(logging.INFO):
            assert signed_in.open_page().status_code == 503

        assert "status 403, error out_of_ink" in caplog.text
        assert secret not in caplog.text


def answer(status: int, body: object) -> ApiAnswer:
    return ApiAnswer(status=status, headers={}, body=body if isinstance(body, bytes) else json.dumps(body).encode())


class TestTheComparison:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ({"message": "Unauthorized"}, {"message": "Unauthorized"}),
            ({"message": "No route for /auth/refresh"}, {"message": "No route for /auth/nowhere"}),
            ({"path": "/v1/auth/refresh", "message": "x"}, {"path": "/v1/auth/nowhere", "message": "x"}),
            ({"message": "Unauthorized", "request_id": "a1"}, {"message": "Unauthorized", "request_id": "b22"}),
            (
                {"message": "Unauthorized (id 3f9c-77)", "time": 5, "timestamp": "2026-01-01T00:00:00Z"},
                {"message": "Unauthorized (id 81aa-09)", "time": 6, "timestamp": "2026-01-01T00:00:01Z"},
            ),
            (b"Cannot POST /auth/refresh", b"Cannot POST /auth/nowhere"),
            ({"message": "Please refresh your token"}, {"message": "Please refresh your token"}),
            ({"message": "x", "requestId": "aQb+cD"}, {"message": "x", "requestId": "xYzW=="}),
            ({"requestID": "abc"}, {"requestID": "fed"}),
            ({"error": {"message": "x", "trace_id": "abc"}}, {"error": {"message": "x", "trace_id": "fed"}}),
        ],
        ids=str,
    )
    def test_ignores_the_path_ids_and_times(self, one: object, other: object) -> None:
        assert says_the_same(answer(401, one), "/auth/refresh", answer(401, other), "/auth/nowhere")

    def test_takes_no_word_of_the_message_for_the_path(self) -> None:
        one = answer(401, {"error": "invalid_token"})

        assert says_the_same(one, "https://a.example/oauth/token", one, "https://a.example/oauth/nowhere")

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ({"message": "Refresh token expired"}, {"message": "Unauthorized"}),
            ({"message": "Unauthorized"}, {"detail": "Unauthorized"}),
            ({"message": "Unauthorized"}, {"message": "Unauthorized", "hint": "Sign in."}),
            (REFUSAL, b"<h1>Not Found</h1>"),
        ],
        ids=str,
    )
    def test_sees_other_words(self, one: object, other: object) -> None:
        assert not says_the_same(answer(404, one), "/auth/refresh", answer(404, other), "/auth/nowhere")

    def test_sees_another_status(self) -> None:
        assert not says_the_same(answer(401, REFUSAL), "/a", answer(404, REFUSAL), "/b")


@pytest.mark.parametrize(
    ("path", "before", "after"),
    [
        ("/auth/refresh", "/auth/no-such-path-", ""),
        ("/token/refresh/", "/token/no-such-path-", "/"),
        ("/refresh", "/no-such-path-", ""),
        ("https://login.example.com/oauth/token?realm=main", "https://login.example.com/oauth/no-such-path-", ""),
        ("https://login.example.com/token", "https://login.example.com/no-such-path-", ""),
    ],
)
def test_the_path_beside(path: str, before: str, after: str) -> None:
    call = ApiCall(method="POST", path=path, form={"refresh_token": "r0"}, headers={"Authorization": "Basic c2VjcmV0"})

    probe = probe_beside(call)

    assert probe.path.startswith(before)
    assert probe.path.endswith(after)
    assert len(probe.path) == len(before) + 16 + len(after)
    assert (probe.method, probe.form, dict(probe.headers)) == ("POST", {}, {})
