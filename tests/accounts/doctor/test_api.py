"""What the doctor says of the API: the demo API over real HTTP, on good days and bad ones."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest
from pytest_django import Settings

from accounts.browser.cookies import MAX_SESSION_BYTES, WARN_FROM_BYTES
from accounts.dialects.base import Dialect, RefreshOutcome
from accounts.dialects.token_pair import TokenPairDialect
from accounts.doctor.api import examine_api
from accounts.doctor.api_session import Credentials, examine_api_session
from accounts.doctor.clocks import describe_difference, difference_from_date
from accounts.doctor.findings import Finding, Findings, Status
from accounts.doctor.network import examine_server, origin_of, read_address, trust_of_the_api
from accounts.exceptions import ApiUnavailable
from accounts.session.tokens import TokenPair
from accounts.upstream.calls import ApiAnswer, ApiCall
from tests.accounts.doctor.gateway import Gateway, make_certificate
from tests.demo_api.server import DEMO_USERS, DemoApi, Fault

PATH = "/protected-route"
ADA = Credentials("ada@example.com", DEMO_USERS["ada@example.com"])
HTML = b"<h1>Welcome to the airport's network</h1>"
AWAY_SECONDS = 600


class ElsewhereDialect(TokenPairDialect):
    """Signs in at a path that the demo API does not have."""

    def sign_in(self, username: str, password: str) -> Any:
        return replace(super().sign_in(username, password), path="/auth/sign-in")


class RedirectDialect(Dialect):
    """Its users sign in at a provider's page; all else is as at the demo API."""

    refreshes_early = replay_is_safe = False

    def refresh(self, tokens: TokenPair) -> ApiCall:
        return TokenPairDialect().refresh(tokens)

    def read_refresh(self, answer: ApiAnswer, tokens: TokenPair) -> RefreshOutcome:
        return TokenPairDialect().read_refresh(answer, tokens)

    def revoke(self, tokens: TokenPair) -> ApiCall | None:
        return TokenPairDialect().revoke(tokens)


class EarlyDialect(TokenPairDialect):
    """Believes that it may refresh at any time."""

    refreshes_early = True


class LookingUpDialect(TokenPairDialect):
    """Has to look something up first, and cannot."""

    def sign_in(self, username: str, password: str) -> NoReturn:
        raise ApiUnavailable("the provider's document is not there")

    def refresh(self, tokens: TokenPair) -> NoReturn:
        raise ApiUnavailable("the provider's document is not there")


def by_name(findings: Findings) -> dict[str, Finding]:
    return {finding.name.removeprefix("api."): finding for finding in findings}


def dialect(kind: type[Dialect]) -> str:
    return f"{__name__}.{kind.__name__}"


def examined(path: str = PATH) -> dict[str, Finding]:
    return by_name(examine_api(path))


def statuses(findings: dict[str, Finding]) -> dict[str, Status]:
    return {name: finding.status for name, finding in findings.items()}


class TestWithoutCredentials:
    def test_an_api_that_keeps_the_contract_is_well(self, api: DemoApi) -> None:
        findings = examined()

        assert statuses(findings) == dict.fromkeys(
            ["connection", "answer", "clock", "sign-in", "refresh", "bearer"], Status.OK
        )
        assert "Wrong e-mail address or password" in findings["sign-in"].found

    def test_it_is_asked_nothing_that_it_grants(self, api: DemoApi) -> None:
        examined()

        assert {call.status for call in api.calls} == {401, 404}
        assert api.refresh_spends == {}

    def test_one_that_is_away(self, api: DemoApi) -> None:
        api.stop_serving()

        findings = examined()

        assert statuses(findings) == {"connection": Status.PROBLEM}
        assert f"127.0.0.1:{api.port}" in findings["connection"].found

    def test_a_name_that_leads_nowhere(self, settings: Settings) -> None:
        settings.API_BASE_URL = "http://api.doctor.invalid"

        assert statuses(examined()) == {"address": Status.PROBLEM}

    @pytest.mark.parametrize("url", ["", "api.example.com", "http://[::1", "ftp://127.0.0.1"])
    def test_what_is_no_address(self, settings: Settings, url: str) -> None:
        settings.API_BASE_URL = url

        assert statuses(examined()) == {"address": Status.PROBLEM}

    def test_a_dialect_that_cannot_be_loaded(self, settings: Settings) -> None:
        settings.API_DIALECT = "no.such.Dialect"

        assert statuses(examined()) == {"dialect": Status.PROBLEM}

    def test_something_that_speaks_no_http(self, settings: Settings) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as server:
            settings.API_BASE_URL = f"http://127.0.0.1:{server.getsockname()[1]}"
            threading.Thread(target=_greet_all, args=[server], daemon=True).start()

            findings = examined()

        assert statuses(findings) == {"connection": Status.OK, "answer": Status.PROBLEM}

    @pytest.mark.parametrize("status", [200, 404])
    def test_one_that_speaks_html(self, api: DemoApi, status: int) -> None:
        for method in ("GET", "POST"):
            api.fail(method, "/", Fault.answer(status, HTML, "text/html"), times=None)

        findings = examined()

        assert findings["sign-in"].status is Status.PROBLEM
        assert "API_DIALECT" in findings["sign-in"].advice

    def test_one_that_speaks_another_dialect(self, api: DemoApi) -> None:
        api.fail("POST", "/auth/login", Fault.answer(401, {"detail": "No active account found."}))

        assert examined()["sign-in"].status is Status.PROBLEM

    def test_one_that_has_no_such_path_and_says_so_in_json(self, api: DemoApi, settings: Settings) -> None:
        settings.API_DIALECT = dialect(ElsewhereDialect)

        finding = examined()["sign-in"]

        assert finding.status is Status.WARNING
        assert "a path that cannot be there" in finding.found

    @pytest.mark.parametrize("status", [500, 503])
    def test_a_gateway_whose_api_is_dead(self, api: DemoApi, status: int) -> None:
        api.fail("GET", "/", Fault.answer(status, HTML, "text/html"))

        findings = examined()

        assert statuses(findings) == {"connection": Status.OK, "answer": Status.PROBLEM, "clock": Status.OK}
        assert str(status) in findings["answer"].found

    def test_one_that_has_moved(self, api: DemoApi) -> None:
        moved = {"Location": "https://ada:tide@api.example.com/v2?key=1"}
        api.fail("GET", "/", Fault.answer(301, headers=moved))

        finding = examined()["answer"]

        assert finding.status is Status.PROBLEM
        assert "https://api.example.com;" in finding.found
        assert "tide" not in finding.found

    def test_a_redirect_within_it_is_its_own_affair(self, api: DemoApi) -> None:
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
    def test_a_refresh_that_is_not_clearly_refused_is_a_warning(self, api: DemoApi, fault: Fault, what: str) -> None:
        api.fail("POST", "/auth/refresh", fault)

        finding = examined()["refresh"]

        assert finding.status is Status.WARNING
        assert what in finding.found

    def test_one_that_lets_everybody_in(self, api: DemoApi) -> None:
        pair = {"accessToken": "a", "refreshToken": "r"}
        api.fail("POST", "/auth/login", Fault.answer(200, pair))

        assert examined()["sign-in"].status is Status.PROBLEM
        assert api.count("POST", "/auth/logout") == 1

    def test_one_that_refreshes_anything(self, api: DemoApi) -> None:
        api.fail("POST", "/auth/refresh", Fault.answer(200, {"accessToken": "a", "refreshToken": "r"}))

        assert examined()["refresh"].status is Status.PROBLEM

    @pytest.mark.parametrize(
        ("status", "expected"),
        [(200, Status.WARNING), (403, Status.WARNING), (404, Status.UNKNOWN), (500, Status.WARNING)],
    )
    def test_a_made_up_token_that_is_not_answered_with_401(self, api: DemoApi, status: int, expected: Status) -> None:
        api.fail("GET", PATH, Fault.answer(status, {"message": "Hm."}))

        assert examined()["bearer"].status is expected

    def test_users_who_sign_in_elsewhere_are_left_alone(self, api: DemoApi, settings: Settings) -> None:
        settings.API_DIALECT = dialect(RedirectDialect)

        findings = examined()

        assert (findings["sign-in"].status, findings["refresh"].status) == (Status.UNKNOWN, Status.OK)
        assert api.count("POST", "/auth/login") == 0
        assert statuses(by_name(examine_api_session(PATH, ADA))) == {"session": Status.UNKNOWN}

    def test_a_dialect_that_fails_before_it_asks(self, api: DemoApi, settings: Settings) -> None:
        settings.API_DIALECT = dialect(LookingUpDialect)

        findings = examined()

        assert findings["sign-in"].status is Status.PROBLEM
        assert "the provider's document is not there" in findings["sign-in"].found


class TestClock:
    @pytest.mark.parametrize(
        ("offset", "status", "words"),
        [
            (AWAY_SECONDS, Status.WARNING, "s ahead of this host's"),
            (-AWAY_SECONDS, Status.WARNING, "s behind this host's"),
            (AWAY_SECONDS / 10, Status.OK, "s ahead of this host's"),
        ],
    )
    def test_one_that_is_off(self, settings: Settings, offset: float, status: Status, words: str) -> None:
        with DemoApi(clock_offset=offset) as api:
            settings.API_BASE_URL = api.url

            finding = examined()["clock"]

        assert finding.status is status
        assert words in finding.found

    @pytest.mark.parametrize("date", [None, "", "yesterday"])
    def test_a_server_that_does_not_tell(self, date: str | None) -> None:
        assert difference_from_date(date, sent_at=0.0, received_at=1.0) is None

    def test_how_far_off_it_is_and_how_sure_that_is(self) -> None:
        # The header says second 100, so it was between 100 and 101 there; here it was between 90 and 92.
        difference = difference_from_date("Thu, 01 Jan 1970 00:01:40 GMT", sent_at=90.0, received_at=92.0)

        assert difference == (9.5, 1.5)
        assert describe_difference("It", *difference) == "It is 9.5 s ahead of this host's (give or take 1.5 s)."

    def test_what_cannot_be_told_from_agreement_is_agreement(self) -> None:
        assert describe_difference("It", -0.4, 0.5) == "It agrees with this host's, within 0.5 s."


class TestCertificate:
    @pytest.fixture
    def certificate(self, tmp_path: Path) -> Path:
        return make_certificate(tmp_path / "certificate.pem", days=5)

    @pytest.fixture
    def gateway(self, api: DemoApi, certificate: Path) -> Iterator[Gateway]:
        """The API behind TLS."""
        with Gateway(api.url, certificate=certificate) as gateway:
            yield gateway

    def test_one_that_calls_to_the_api_do_not_trust(self, gateway: Gateway, settings: Settings) -> None:
        settings.API_BASE_URL = gateway.url

        findings = examined()

        assert statuses(findings) == {"connection": Status.OK, "certificate": Status.PROBLEM}
        assert "self-signed" in findings["certificate"].found

    def test_whatever_this_machine_trusts_besides(
        self, gateway: Gateway, certificate: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        settings.API_BASE_URL = gateway.url

        assert examined()["certificate"].status is Status.PROBLEM

    def test_one_that_runs_out_soon(self, gateway: Gateway, certificate: Path) -> None:
        context = ssl.create_default_context(cafile=str(certificate))

        finding = by_name(examine_server("api", gateway.url, context))["certificate"]

        assert finding.status is Status.WARNING
        assert days_left(finding) in (4, 5)

    def test_one_that_has_time(self, api: DemoApi, tmp_path: Path) -> None:
        certificate = make_certificate(tmp_path / "long.pem", days=90)
        context = ssl.create_default_context(cafile=str(certificate))
        with Gateway(api.url, certificate=certificate) as gateway:
            finding = by_name(examine_server("api", gateway.url, context))["certificate"]

        assert finding.status is Status.OK

    def test_a_server_without_tls(self, api: DemoApi) -> None:
        url = api.url.replace("http:", "https:")

        assert by_name(examine_server("api", url, trust_of_the_api()))["certificate"].status is Status.PROBLEM


class TestWithCredentials:
    def test_a_whole_session(self, api: DemoApi) -> None:
        findings = by_name(examine_api_session(PATH, ADA))

        assert statuses(findings) == {
            "session": Status.OK,
            "call": Status.OK,
            "first-refresh": Status.UNKNOWN,
            "revocation": Status.OK,
        }
        assert "60 s" in findings["session"].found
        assert api.count("POST", "/auth/refresh", 200) == 0

    def test_no_token_and_no_password_in_it(self, api: DemoApi) -> None:
        printed = str(list(examine_api_session(PATH, ADA)))

        assert ADA.password not in printed
        assert "eyJ" not in printed
        assert ADA.password not in str(ADA)

    def test_a_password_that_is_wrong(self, api: DemoApi) -> None:
        api.fail("POST", "/auth/login", Fault.answer(401, {"message": "not-the-password is wrong"}))

        findings = by_name(examine_api_session(PATH, Credentials(ADA.username, "not-the-password")))

        assert statuses(findings) == {"session": Status.PROBLEM}
        assert "not-the-password" not in str(findings)

    def test_an_api_that_fails_meanwhile(self, api: DemoApi) -> None:
        api.fail("POST", "/auth/login", Fault.answer(503))

        assert statuses(by_name(examine_api_session(PATH, ADA))) == {"session": Status.PROBLEM}

    @pytest.mark.parametrize(
        ("fault", "status"),
        [
            (Fault.answer(401, {"message": "No."}), Status.PROBLEM),
            (Fault.answer(500), Status.PROBLEM),
            (Fault.reset(), Status.PROBLEM),
            (Fault.answer(404, {"message": "No."}), Status.WARNING),
        ],
        ids=["401", "500", "reset", "404"],
    )
    def test_a_call_that_does_not_do(self, api: DemoApi, fault: Fault, status: Status) -> None:
        api.fail("GET", PATH, fault)

        assert by_name(examine_api_session(PATH, ADA))["call"].status is status

    def test_tokens_that_the_api_refreshes_once_they_are_old(self, settings: Settings) -> None:
        settings.API_DIALECT = dialect(EarlyDialect)
        with DemoApi(access_ttl=1) as api:
            settings.API_BASE_URL = api.url
            api.fail("GET", PATH, Fault.delay(2.5))

            findings = by_name(examine_api_session(PATH, ADA))

        assert (findings["first-refresh"].status, findings["revocation"].status) == (Status.OK, Status.OK)
        assert "every request would refresh" in findings["session"].advice

    @pytest.mark.parametrize(
        ("fault", "status"),
        [
            (Fault.delay(0), Status.WARNING),
            (Fault.answer(401, {"message": "No."}), Status.PROBLEM),
            (Fault.answer(502, HTML, "text/html"), Status.PROBLEM),
        ],
        ids=["still valid", "refused", "a gateway's 502"],
    )
    def test_a_refresh_that_does_not_do(self, api: DemoApi, settings: Settings, fault: Fault, status: Status) -> None:
        settings.API_DIALECT = dialect(EarlyDialect)
        api.fail("POST", "/auth/refresh", fault)

        assert by_name(examine_api_session(PATH, ADA))["first-refresh"].status is status

    def test_an_api_that_cannot_end_a_sign_in(self, settings: Settings) -> None:
        with DemoApi(has_logout=False) as api:
            settings.API_BASE_URL = api.url

            finding = by_name(examine_api_session(PATH, ADA))["revocation"]

        assert finding.status is Status.UNKNOWN

    def test_an_api_that_goes_on_after_the_end(self, api: DemoApi) -> None:
        api.fail("POST", "/auth/refresh", Fault.answer(200, {"accessToken": "a", "refreshToken": "r"}))

        assert by_name(examine_api_session(PATH, ADA))["revocation"].status is Status.WARNING
        assert api.count("POST", "/auth/logout") == 2

    def test_tokens_that_are_too_large_for_cookies(self, api: DemoApi) -> None:
        sizes = {
            WARN_FROM_BYTES // 4: Status.OK,
            WARN_FROM_BYTES * 7 // 8: Status.WARNING,
            MAX_SESSION_BYTES: Status.PROBLEM,
        }
        found = {}
        for size in sizes:
            # Characters that do not deflate.
            token = "".join(f"{number * number * 7919:x}" for number in range(size // 8, size))[:size]
            api.fail("POST", "/auth/login", Fault.answer(200, {"accessToken": token, "refreshToken": token[::-1]}))
            found[size] = by_name(examine_api_session(PATH, ADA))["session"].status

        assert found == sizes


@pytest.mark.parametrize(
    "url",
    [
        "",
        "www.example.com",
        "ftp://example.com",
        "https://",
        "https://ada:tide@example.com",
        "https://x?q=1",
        "http://[::1",
    ],
)
def test_what_is_no_address_of_a_site(url: str) -> None:
    assert read_address(url) is None


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://example.com/a?b=c", "https://example.com"),
        ("http://ada:tide@example.com:81/", "http://example.com:81"),
        ("/docs", ""),
        ("http://[::1", ""),
        ("", ""),
    ],
)
def test_of_an_address_only_its_origin_is_shown(url: str, origin: str) -> None:
    assert origin_of(url) == origin


def days_left(finding: Finding) -> int:
    return int(finding.found.split(" days")[0].rsplit(" ", 1)[1])


def _greet_all(server: socket.socket) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            connection.sendall(b"220 mail.example.com ESMTP\r\n")
