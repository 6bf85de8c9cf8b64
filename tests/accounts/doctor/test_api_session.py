"""What the doctor says of one session at the API, with the credentials of a user."""

import pytest
from pytest_django import Settings

from accounts.browser.cookies import MAX_SESSION_BYTES, WARN_FROM_BYTES
from accounts.dialects.token_pair import TokenPairDialect
from accounts.doctor.api import Credentials, examine_api_session
from accounts.doctor.findings import Status
from tests.accounts.doctor.reports import by_name, statuses
from tests.demo_api.server import DEMO_USERS, DemoApi, Fault

PATH = "/protected-route"
ADA = Credentials("ada@example.com", DEMO_USERS["ada@example.com"])
HTML = b"<h1>Welcome to the airport's network</h1>"


class EarlyDialect(TokenPairDialect):
    """Believes that it may refresh at any time."""

    refreshes_early = True


def test_a_whole_session(api: DemoApi) -> None:
    findings = by_name(examine_api_session(PATH, ADA))

    assert statuses(findings) == {
        "session": Status.OK,
        "call": Status.OK,
        "first-refresh": Status.UNKNOWN,
        "revocation": Status.OK,
    }
    assert "60 s" in findings["session"].found
    assert api.count("POST", "/auth/refresh", 200) == 0


def test_no_token_and_no_password_in_it(api: DemoApi) -> None:
    printed = str(list(examine_api_session(PATH, ADA)))

    assert ADA.password not in printed
    assert "eyJ" not in printed
    assert ADA.password not in str(ADA)


def test_a_password_that_is_wrong(api: DemoApi) -> None:
    api.fail("POST", "/auth/login", Fault.answer(401, {"message": "not-the-password is wrong"}))

    findings = by_name(examine_api_session(PATH, Credentials(ADA.username, "not-the-password")))

    assert statuses(findings) == {"session": Status.PROBLEM}
    assert "not-the-password" not in str(findings)


def test_an_api_that_fails_meanwhile(api: DemoApi) -> None:
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
def test_a_call_that_does_not_do(api: DemoApi, fault: Fault, status: Status) -> None:
    api.fail("GET", PATH, fault)

    assert by_name(examine_api_session(PATH, ADA))["call"].status is status


def test_tokens_that_the_api_refreshes_once_they_are_old(settings: Settings) -> None:
    settings.API_DIALECT = f"{__name__}.EarlyDialect"
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
def test_a_refresh_that_does_not_do(api: DemoApi, settings: Settings, fault: Fault, status: Status) -> None:
    settings.API_DIALECT = f"{__name__}.EarlyDialect"
    api.fail("POST", "/auth/refresh", fault)

    assert by_name(examine_api_session(PATH, ADA))["first-refresh"].status is status


def test_an_api_that_cannot_end_a_sign_in(settings: Settings) -> None:
    with DemoApi(has_logout=False) as api:
        settings.API_BASE_URL = api.url

        finding = by_name(examine_api_session(PATH, ADA))["revocation"]

    assert finding.status is Status.UNKNOWN


def test_an_api_that_goes_on_after_the_end(api: DemoApi) -> None:
    api.fail("POST", "/auth/refresh", Fault.answer(200, {"accessToken": "a", "refreshToken": "r"}))

    assert by_name(examine_api_session(PATH, ADA))["revocation"].status is Status.WARNING
    assert api.count("POST", "/auth/logout") == 2


def test_tokens_that_are_too_large_for_cookies(api: DemoApi) -> None:
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
