"""What the doctor says of the API: the demo API over real HTTP, on good days and bad ones."""

import socket
import threading
from contextlib import closing
from dataclasses import replace
from typing import Any, NoReturn

import pytest
from pytest_django import Settings

from accounts.dialects.base import Dialect, RefreshOutcome
from accounts.dialects.token_pair import TokenPairDialect
from accounts.doctor.api import examine_api
from accounts.doctor.findings import Finding, Status
from accounts.exceptions import ApiUnavailable
from accounts.session.tokens import TokenPair
from accounts.upstream.calls import ApiAnswer, ApiCall
from tests.accounts.doctor.reports import by_name, statuses
from tests.demo_api.server import DemoApi, Fault

PATH = "/protected-route"
HTML = b"<h1>Welcome to the airport's network</h1>"


class ElsewhereDialect(TokenPairDialect):
    """Signs in at a path that the demo API does not have."""

    def sign_in(self, username: str, password: str) -> Any:
        return replace(super().sign_in(username, password), path="/auth/sign-in")


class RedirectDialect(Dialect):
    """Its users sign in on a provider's page. The rest is like the demo API."""

    refreshes_early = replay_is_safe = False

    def refresh(self, tokens: TokenPair) -> ApiCall:
        return TokenPairDialect().refresh(tokens)

    def read_refresh(self, answer: ApiAnswer, tokens: TokenPair) -> RefreshOutcome:
        return TokenPairDialect().read_refresh(answer, tokens)

    def revoke(self, tokens: TokenPair) -> ApiCall | None:
        return TokenPairDialect().revoke(tokens)


class LookingUpDialect(TokenPairDialect):
    """Must fetch a document first, and cannot."""

    def sign_in(self, username: str, password: str) -> NoReturn:
        raise ApiUnavailable("the provider's document is not there")

    def refresh(self, tokens: TokenPair) -> NoReturn:
        raise ApiUnavailable("the provider's document is not there")


def dialect(kind: type[Dialect]) -> str:
    return f"{__name__}.{kind.__name__}"


def examined(path: str = PATH) -> dict[str, Finding]:
    return by_name(examine_api(path))


def test_an_api_that_keeps_the_contract_is_well(api: DemoApi) -> None:
    findings = examined()

    assert statuses(findings) == dict.fromkeys(["connection", "answer", "sign-in", "refresh", "bearer"], Status.OK)
    assert "Wrong e-mail address or password" in findings["sign-in"].found


def test_it_is_asked_nothing_that_it_grants(api: DemoApi) -> None:
    examined()

    assert {call.status for call in api.calls} == {401, 404}
    assert api.refresh_spends == {}


def test_one_that_is_away(api: DemoApi) -> None:
    api.stop_serving()

    findings = examined()

    assert statuses(findings) == {"connection": Status.PROBLEM}
    assert f"127.0.0.1:{api.port}" in findings["connection"].found


def test_a_name_that_leads_nowhere(settings: Settings) -> None:
    settings.API_BASE_URL = "http://api.doctor.invalid"

    assert statuses(examined()) == {"connection": Status.PROBLEM}


@pytest.mark.parametrize("url", ["", "api.example.com", "http://[::1", "ftp://127.0.0.1"])
def test_what_is_no_address(settings: Settings, url: str) -> None:
    settings.API_BASE_URL = url

    assert statuses(examined()) == {"address": Status.PROBLEM}


def test_something_that_speaks_no_http(settings: Settings) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        settings.API_BASE_URL = f"http://127.0.0.1:{server.getsockname()[1]}"
        threading.Thread(target=_greet_all, args=[server], daemon=True).start()

        findings = examined()

    assert statuses(findings) == {"connection": Status.OK, "answer": Status.PROBLEM}


@pytest.mark.parametrize("status", [200, 404])
def test_one_that_speaks_html(api: DemoApi, status: int) -> None:
    for method in ("GET", "POST"):
        api.fail(method, "/", Fault.answer(status, HTML, "text/html"), times=None)

    findings = examined()

    assert findings["sign-in"].status is Status.PROBLEM
    assert "API_DIALECT" in findings["sign-in"].advice


def test_one_that_speaks_another_dialect(api: DemoApi) -> None:
    api.fail("POST", "/auth/login", Fault.answer(401, {"detail": "No active account found."}))

    assert examined()["sign-in"].status is Status.PROBLEM


def test_one_that_has_no_such_path_and_says_so_in_json(api: DemoApi, settings: Settings) -> None:
    settings.API_DIALECT = dialect(ElsewhereDialect)

    finding = examined()["sign-in"]

    assert finding.status is Status.WARNING
    assert "a path that does not exist" in finding.found


@pytest.mark.parametrize("status", [500, 503])
def test_a_gateway_whose_api_is_dead(api: DemoApi, status: int) -> None:
    api.fail("GET", "/", Fault.answer(status, HTML, "text/html"))

    findings = examined()

    assert statuses(findings) == {"connection": Status.OK, "answer": Status.PROBLEM}
    assert str(status) in findings["answer"].found


def test_one_that_has_moved(api: DemoApi) -> None:
    moved = {"Location": "https://ada:tide@api.example.com/v2?key=1"}
    api.fail("GET", "/", Fault.answer(301, headers=moved))

    finding = examined()["answer"]

    assert finding.status is Status.PROBLEM
    assert "https://api.example.com;" in finding.found
    assert "tide" not in finding.found


def test_a_redirect_within_it_is_its_own_affair(api: DemoApi) -> None:
    api.fail("GET", "/", Fault.answer(302, headers={"Location": "/docs"}))

    assert examined()["answer"].status is Status.OK


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        (Fault.answer(400, {"message": "The access token is still valid."}), "still valid"),
        (Fault.answer(500, {"message": "Oops."}), "status 500"),
        (Fault.answer(401, HTML, "text/html"), "status 401"),
        (Fault.reset(), "AnswerLost"),
    ],
    ids=["still valid", "500", "a gateway's 401", "reset"],
)
def test_a_refresh_that_is_not_clearly_refused_is_a_warning(api: DemoApi, fault: Fault, what: str) -> None:
    api.fail("POST", "/auth/refresh", fault)

    finding = examined()["refresh"]

    assert finding.status is Status.WARNING
    assert what in finding.found


def test_one_that_lets_everybody_in(api: DemoApi) -> None:
    pair = {"accessToken": "a", "refreshToken": "r"}
    api.fail("POST", "/auth/login", Fault.answer(200, pair))

    assert examined()["sign-in"].status is Status.PROBLEM
    assert api.count("POST", "/auth/logout") == 1


def test_one_that_refreshes_anything(api: DemoApi) -> None:
    api.fail("POST", "/auth/refresh", Fault.answer(200, {"accessToken": "a", "refreshToken": "r"}))

    assert examined()["refresh"].status is Status.PROBLEM


@pytest.mark.parametrize(
    ("status", "expected"),
    [(200, Status.WARNING), (403, Status.WARNING), (404, Status.UNKNOWN), (500, Status.WARNING)],
)
def test_a_made_up_token_that_is_not_answered_with_401(api: DemoApi, status: int, expected: Status) -> None:
    api.fail("GET", PATH, Fault.answer(status, {"message": "Hm."}))

    assert examined()["bearer"].status is expected


def test_users_who_sign_in_elsewhere_are_left_alone(api: DemoApi, settings: Settings) -> None:
    settings.API_DIALECT = dialect(RedirectDialect)

    findings = examined()

    assert "sign-in" not in findings
    assert findings["refresh"].status is Status.OK
    assert api.count("POST", "/auth/login") == 0


def test_a_dialect_that_fails_before_it_asks(api: DemoApi, settings: Settings) -> None:
    settings.API_DIALECT = dialect(LookingUpDialect)

    findings = examined()

    assert findings["sign-in"].status is Status.PROBLEM
    assert "the provider's document is not there" in findings["sign-in"].found


def _greet_all(server: socket.socket) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            connection.sendall(b"220 mail.example.com ESMTP\r\n")
