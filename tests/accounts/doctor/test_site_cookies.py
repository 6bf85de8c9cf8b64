"""What the doctor sees of cookies: do those of a large session arrive, from the site and at the site?"""

import re
from pathlib import Path

import pytest
from gunicorn.config import LimitRequestFieldSize

from accounts.browser.cookies import MAX_COOKIE_BYTES, MAX_SESSION_BYTES
from accounts.doctor.endpoint import trial_cookies
from accounts.doctor.findings import Finding, Status
from accounts.doctor.site_cookies import examine_cookie_size, examine_set_cookie
from tests.accounts.doctor.conftest import a_site, visit
from tests.accounts.doctor.gateway import Behaviour, Gateway
from tests.accounts.doctor.reports import by_name
from tests.load.site import Site

pytestmark = pytest.mark.usefixtures("site_settings")


def both(url: str) -> dict[str, Finding]:
    """The two findings about cookies."""
    site = visit(url)
    return by_name(iter([examine_set_cookie(site), examine_cookie_size(site)]))


def bytes_in(finding: Finding) -> int:
    """The size that is said to get through."""
    found = re.search(r"up to (\d+) bytes", finding.found)
    assert found, finding.found
    return int(found[1])


def test_gunicorns_own_limit_is_found_out(tmp_path: Path) -> None:
    default = f"--limit-request-field_size {LimitRequestFieldSize.default}"
    with a_site(tmp_path, GUNICORN_CMD_ARGS=default) as site:
        findings = both(site.url)

    finding = findings["cookie-size"]
    assert finding.status is Status.OK
    assert LimitRequestFieldSize.default - 512 < bytes_in(finding) < LimitRequestFieldSize.default
    assert "lock its user out" in finding.advice


@pytest.mark.parametrize(
    ("set_cookies", "what"),
    [
        (lambda lines: lines[:1], "1 of 5 cookies"),
        (lambda lines: lines[:-1], "4 of 5 cookies"),
        (lambda lines: [", ".join(lines)], "0 of 5 cookies"),
        (lambda lines: [line[:1000] for line in lines], "of 5 cookies"),
        (lambda lines: [], "0 of 5 cookies"),
    ],
    ids=["keeps one", "loses one", "folds them", "cuts them", "eats all"],
)
def test_a_gateway_that_loses_set_cookie(direct: Site, set_cookies: object, what: str) -> None:
    with Gateway(direct.url, Behaviour(set_cookies=set_cookies)) as gateway:  # type: ignore[arg-type]
        findings = both(gateway.url)

    assert findings["set-cookie"].status is Status.PROBLEM
    assert what in findings["set-cookie"].found


def test_a_gateway_that_changes_attributes(deployed: Site, trusted: Path) -> None:
    def rewrite(lines: list[str]) -> list[str]:
        return [line.replace("; Secure", "").replace("Path=/", "Path=/app") for line in lines]

    with Gateway(deployed.url, Behaviour(set_cookies=rewrite), certificate=trusted) as gateway:
        finding = examine_set_cookie(visit(gateway.url))

    assert finding.status is Status.PROBLEM
    assert "path is /app, secure is missing" in finding.found


@pytest.mark.parametrize("name", ["affinity", "session-affinity"])
def test_a_cookie_of_the_gateways_own_is_none_of_our_business(direct: Site, name: str) -> None:
    def add(lines: list[str]) -> list[str]:
        return [f"{name}=worker-7; Path=/app", *lines]

    with Gateway(direct.url, Behaviour(set_cookies=add)) as gateway:
        finding = examine_set_cookie(visit(gateway.url))

    assert finding.status is Status.OK


def test_a_gateway_that_lets_nobody_sign_out(direct: Site) -> None:
    def keep(lines: list[str]) -> list[str]:
        return [line for line in lines if "Max-Age=0" not in line]

    with Gateway(direct.url, Behaviour(set_cookies=keep)) as gateway:
        finding = examine_set_cookie(visit(gateway.url))

    assert finding.status is Status.PROBLEM
    assert "signing out" in finding.found


@pytest.mark.parametrize(("limit", "status"), [(MAX_COOKIE_BYTES // 2, Status.PROBLEM), (6 * 1024, Status.WARNING)])
def test_a_gateway_that_refuses_large_requests(direct: Site, limit: int, status: Status) -> None:
    with Gateway(direct.url, Behaviour(largest_request_line=limit)) as gateway:
        findings = both(gateway.url)

    assert findings["set-cookie"].status is Status.OK
    finding = findings["cookie-size"]
    assert finding.status is status
    assert limit - 512 < bytes_in(finding) < limit
    assert "requests that bring" in finding.found
    assert "status 400" in finding.found


@pytest.mark.parametrize(("limit", "status"), [(MAX_COOKIE_BYTES, Status.PROBLEM), (8 * 1024, Status.WARNING)])
def test_a_gateway_that_refuses_large_answers(direct: Site, limit: int, status: Status) -> None:
    with Gateway(direct.url, Behaviour(largest_response_head=limit)) as gateway:
        findings = both(gateway.url)

    assert findings["set-cookie"].status is Status.OK
    finding = findings["cookie-size"]
    assert finding.status is status
    assert bytes_in(finding) < limit
    assert "responses that set" in finding.found
    assert "status 502" in finding.found


def test_a_gateway_that_lets_no_cookie_out(direct: Site) -> None:
    def break_off(lines: list[str]) -> list[str]:
        if lines:
            raise ConnectionError
        return lines

    with Gateway(direct.url, Behaviour(set_cookies=break_off)) as gateway:
        findings = both(gateway.url)

    assert {finding.status for finding in findings.values()} == {Status.PROBLEM}


def test_on_a_developers_machine_it_is_a_note(developers: Site) -> None:
    with Gateway(developers.url, Behaviour(set_cookies=lambda lines: [])) as gateway:
        findings = both(gateway.url)

    assert {finding.status for finding in findings.values()} == {Status.OK}
    assert findings["set-cookie"].advice


def test_no_session_has_the_names_of_the_trial() -> None:
    names = {*trial_cookies(MAX_SESSION_BYTES, "session")}

    assert len(names) == 5
    assert not any(re.fullmatch(r"session(-\d|-new-.*)?", name) for name in names)
