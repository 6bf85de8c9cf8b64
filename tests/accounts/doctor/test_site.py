"""What the doctor sees of a deployed site: gunicorn, behind gateways that do what gateways do to people."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from gunicorn.config import LimitRequestFieldSize
from pytest_django import Settings

from accounts.browser.cookies import MAX_COOKIE_BYTES, MAX_SESSION_BYTES
from accounts.doctor.endpoint import Order, trial_cookies
from accounts.doctor.findings import Finding, Findings, Status
from accounts.doctor.site import examine_site
from accounts.doctor.site_cookies import examine_cookies
from accounts.doctor.site_requests import examine_address, examine_caching, examine_plain_http, examine_scheme
from accounts.doctor.site_streams import examine_streams
from accounts.doctor.visits import Visit, send
from tests.accounts.doctor.gateway import Gateway, Manners, make_certificate
from tests.load.processes import free_port
from tests.load.site import Site

NOBODY_PORT = free_port()
#: As deployed behind one proxy that ends TLS.
PRODUCTION = {
    "API_SESSION_COOKIE_SECURE": "true",
    "API_SESSION_COOKIE_NAME": "__Host-session",
    "SECURE_SSL_REDIRECT": "true",
    "TRUSTED_PROXY_COUNT": "1",
}


def a_site(folder: Path, **environment: str) -> Site:
    """One worker, which has the keys of this process, so that its doctor takes our tickets."""
    return Site(
        database_url=f"sqlite:///{folder / 'db.sqlite3'}",
        api_url=f"http://127.0.0.1:{NOBODY_PORT}",
        workers=1,
        environment={"SECRET_KEY": django_settings.SECRET_KEY, **environment},
    )


@pytest.fixture(scope="module")
def direct(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site on plain HTTP that trusts no proxy."""
    # Its gunicorn has gunicorn's own limit, and not the one of gunicorn.conf.py.
    limit = f"--limit-request-field_size {LimitRequestFieldSize.default}"
    with a_site(tmp_path_factory.mktemp("direct"), GUNICORN_CMD_ARGS=limit) as site:
        yield site


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site behind one proxy."""
    with a_site(tmp_path_factory.mktemp("deployed"), **PRODUCTION) as site:
        yield site


@pytest.fixture(scope="module")
def developers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site with DEBUG on."""
    with a_site(tmp_path_factory.mktemp("developers"), DEBUG="true") as site:
        yield site


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls") / "certificate.pem")


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The certificate, trusted by this machine's administrator."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    return certificate


@pytest.fixture(autouse=True)
def _settings_of_the_deployed_site(settings: Settings) -> None:
    settings.API_SESSION_COOKIE_NAME = PRODUCTION["API_SESSION_COOKIE_NAME"]
    settings.TRUSTED_PROXY_COUNT = 1


def by_name(findings: Findings) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def statuses(findings: dict[str, Finding]) -> dict[str, Status]:
    return {name.removeprefix("site."): finding.status for name, finding in findings.items()}


def visit(url: str) -> Visit:
    return Visit(url, send(url, Order.LOOK))


def bytes_in(finding: Finding) -> int:
    """The size that is said to get through."""
    found = re.search(r"up to (\d+) bytes", finding.found)
    assert found, finding.found
    return int(found[1])


def test_a_site_behind_a_proxy_that_does_what_it_should_is_well(deployed: Site, trusted: Path) -> None:
    with Gateway(deployed.url, certificate=trusted) as gateway:
        findings = by_name(examine_site(gateway.url))

    assert set(statuses(findings).values()) == {Status.OK}
    assert {*statuses(findings)} == {
        *("connection", "certificate", "answer", "scheme", "address"),
        *("set-cookie", "cookie-size", "streamed-page", "event-stream", "caching"),
    }
    assert "5 cookies in one answer" in findings["site.set-cookie"].found


def test_on_a_developers_machine_plain_http_is_a_note(developers: Site, settings: Settings) -> None:
    settings.API_SESSION_COOKIE_NAME = "session"
    settings.TRUSTED_PROXY_COUNT = 0

    findings = by_name(examine_site(developers.url))

    assert set(statuses(findings).values()) == {Status.OK}
    assert "plain HTTP" in findings["site.scheme"].found
    assert findings["site.scheme"].advice


def test_debug_on_a_public_site_makes_nothing_a_note(developers: Site) -> None:
    seen = send(developers.url, Order.LOOK)

    assert Visit(developers.url, seen).debug
    assert not Visit("https://www.example.com", seen).debug


class TestAnswer:
    def test_nobody_listens(self) -> None:
        findings = by_name(examine_site(f"http://127.0.0.1:{NOBODY_PORT}"))

        assert statuses(findings) == {"connection": Status.PROBLEM}

    def test_a_certificate_that_nobody_vouches_for(self, deployed: Site, certificate: Path) -> None:
        with Gateway(deployed.url, certificate=certificate) as gateway:
            findings = by_name(examine_site(gateway.url))

        assert statuses(findings) == {"connection": Status.OK, "certificate": Status.PROBLEM}
        assert "self-signed" in findings["site.certificate"].found

    def test_https_where_plain_http_is_spoken(self, direct: Site) -> None:
        findings = by_name(examine_site(direct.url.replace("http:", "https:")))

        assert statuses(findings) == {"connection": Status.OK, "certificate": Status.PROBLEM}

    def test_a_site_with_other_keys(self, direct: Site, settings: Settings) -> None:
        settings.API_SESSION_KEYS = ["another-key-that-the-site-has-never-seen-" + "0" * 20]

        findings = by_name(examine_site(direct.url))

        assert statuses(findings) == {"connection": Status.OK, "answer": Status.PROBLEM}
        assert "404" in findings["site.answer"].found
        assert "Its clock agrees" in findings["site.answer"].found
        assert "keys" in findings["site.answer"].advice

    def test_a_name_that_the_site_does_not_go_by(self, direct: Site) -> None:
        findings = by_name(examine_site(direct.url.replace("127.0.0.1", "localhost")))

        assert findings["site.answer"].status is Status.PROBLEM
        assert "ALLOWED_HOSTS" in findings["site.answer"].advice

    @pytest.mark.parametrize("status", [200, 401, 403, 503])
    def test_something_else_that_answers(self, direct: Site, status: int) -> None:
        with Gateway(direct.url, Manners(answers=status)) as gateway:
            findings = by_name(examine_site(gateway.url))

        assert statuses(findings) == {"connection": Status.OK, "answer": Status.PROBLEM}

    def test_a_gateway_that_cannot_reach_the_site(self) -> None:
        with Gateway(f"http://127.0.0.1:{NOBODY_PORT}") as gateway:
            findings = by_name(examine_site(gateway.url))

        assert statuses(findings) == {"connection": Status.OK, "answer": Status.PROBLEM}

    def test_plain_http_that_is_redirected(self, deployed: Site) -> None:
        findings = by_name(examine_site(deployed.url))

        assert findings["site.answer"].status is Status.PROBLEM
        assert findings["site.answer"].advice == f"Ask there: --url {deployed.url.replace('http:', 'https:')}"

    def test_settings_that_are_not_the_sites(self, direct: Site) -> None:
        findings = by_name(examine_site(direct.url))

        assert findings["site.settings"].status is Status.WARNING
        assert "cookie name, trusted proxies" in findings["site.settings"].found

    def test_a_gateway_that_asks_for_another_host(self, direct: Site) -> None:
        with Gateway(direct.url, Manners(host="127.0.0.1:1234", says_proto=None)) as gateway:
            findings = by_name(examine_site(gateway.url))

        assert findings["site.answer"].status is Status.WARNING
        assert "127.0.0.1:1234" in findings["site.answer"].found

    def test_a_site_that_goes_away_meanwhile(self, direct: Site) -> None:
        answers = []

        def go_away(lines: list[str]) -> list[str]:
            answers.append(lines)
            if len(answers) > 1:
                raise ConnectionError
            return lines

        with Gateway(direct.url, Manners(says_proto=None, set_cookies=go_away)) as gateway:
            findings = statuses(by_name(examine_site(gateway.url)))

        assert findings.pop("connection") is findings.pop("answer") is Status.OK
        # Which this site has for good reasons, see above.
        del findings["settings"]
        assert findings == {
            "scheme": Status.WARNING,
            **dict.fromkeys(["address", "set-cookie", "cookie-size", "streams", "caching"], Status.PROBLEM),
        }


class TestScheme:
    def test_nobody_says_https_and_the_site_redirects_without_end(self, deployed: Site, trusted: Path) -> None:
        with Gateway(deployed.url, Manners(says_proto=None), certificate=trusted) as gateway:
            findings = by_name(examine_site(gateway.url))

        assert findings["site.answer"].status is Status.PROBLEM
        assert "without end" in findings["site.answer"].found
        assert "X-Forwarded-Proto" in findings["site.answer"].advice

    def test_nobody_says_https_and_the_site_does_not_redirect(self, direct: Site, trusted: Path) -> None:
        with Gateway(direct.url, Manners(says_proto=None), certificate=trusted) as gateway:
            (finding,) = examine_scheme(visit(gateway.url))

        assert finding.status is Status.PROBLEM
        assert "nobody says so" in finding.found

    def test_plain_http_that_passes_for_https(self, deployed: Site) -> None:
        with Gateway(deployed.url, Manners(says_proto="https")) as gateway:
            (finding,) = examine_scheme(visit(gateway.url))

        assert finding.status is Status.PROBLEM

    def test_plain_http_on_this_machine_is_no_more_than_a_warning(self, direct: Site) -> None:
        (finding,) = examine_scheme(visit(direct.url))

        assert finding.status is Status.WARNING

    def test_plain_http_leads_to_https(self, deployed: Site) -> None:
        assert examine_plain_http(deployed.url).status is Status.OK

    def test_plain_http_is_served(self, direct: Site) -> None:
        assert examine_plain_http(direct.url).status is Status.PROBLEM

    def test_nobody_is_there_on_plain_http(self) -> None:
        assert examine_plain_http(f"http://127.0.0.1:{NOBODY_PORT}").status is Status.OK


class TestAddress:
    def test_more_proxies_than_are_trusted(self, direct: Site) -> None:
        with Gateway(direct.url, Manners(says_proto=None)) as gateway:
            (finding,) = examine_address(visit(gateway.url))

        assert finding.status is Status.PROBLEM
        assert "TRUSTED_PROXY_COUNT=1" in finding.advice

    def test_fewer_proxies_than_are_trusted_so_that_a_visitor_can_choose(self, deployed: Site, trusted: Path) -> None:
        with Gateway(deployed.url, Manners(adds_address=False), certificate=trusted) as gateway:
            (finding,) = examine_address(visit(gateway.url))

        assert finding.status is Status.PROBLEM
        assert "choose" in finding.found
        assert "TRUSTED_PROXY_COUNT=0" in finding.advice

    @pytest.mark.parametrize(("address", "what"), [("", "cannot tell"), ("10.255.255.254", "one of a private network")])
    def test_one_that_can_hardly_be_a_visitors(self, direct: Site, address: str, what: str) -> None:
        first = send(direct.url, Order.LOOK)
        seen = {**first.seen, "address": address}

        (finding,) = examine_address(Visit(direct.url, replace(first, seen=seen)))

        assert finding.status is Status.WARNING
        assert what in finding.found


class TestCookies:
    def test_gunicorns_own_limit_is_found_out(self, tmp_path: Path) -> None:
        default = f"--limit-request-field_size {LimitRequestFieldSize.default}"
        with a_site(tmp_path, GUNICORN_CMD_ARGS=default) as site:
            findings = by_name(examine_cookies(visit(site.url)))

        finding = findings["site.cookie-size"]
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
    def test_a_gateway_that_loses_set_cookie(self, direct: Site, set_cookies: object, what: str) -> None:
        with Gateway(direct.url, Manners(set_cookies=set_cookies)) as gateway:  # type: ignore[arg-type]
            findings = by_name(examine_cookies(visit(gateway.url)))

        assert findings["site.set-cookie"].status is Status.PROBLEM
        assert what in findings["site.set-cookie"].found

    def test_a_gateway_that_changes_attributes(self, deployed: Site, trusted: Path) -> None:
        def rewrite(lines: list[str]) -> list[str]:
            return [line.replace("; Secure", "").replace("Path=/", "Path=/app") for line in lines]

        with Gateway(deployed.url, Manners(set_cookies=rewrite), certificate=trusted) as gateway:
            finding = by_name(examine_cookies(visit(gateway.url)))["site.set-cookie"]

        assert finding.status is Status.PROBLEM
        assert "path is /app, secure is missing" in finding.found

    def test_a_cookie_of_the_gateways_own_is_none_of_our_business(self, direct: Site) -> None:
        def add(lines: list[str]) -> list[str]:
            return ["affinity=worker-7; Path=/", *lines]

        with Gateway(direct.url, Manners(set_cookies=add)) as gateway:
            finding = by_name(examine_cookies(visit(gateway.url)))["site.set-cookie"]

        assert finding.status is Status.OK

    def test_a_gateway_that_lets_nobody_sign_out(self, direct: Site) -> None:
        def keep(lines: list[str]) -> list[str]:
            return [line for line in lines if "Max-Age=0" not in line]

        with Gateway(direct.url, Manners(set_cookies=keep)) as gateway:
            finding = by_name(examine_cookies(visit(gateway.url)))["site.set-cookie"]

        assert finding.status is Status.PROBLEM
        assert "signing out" in finding.found

    @pytest.mark.parametrize(("limit", "status"), [(MAX_COOKIE_BYTES // 2, Status.PROBLEM), (6 * 1024, Status.WARNING)])
    def test_a_gateway_that_refuses_large_requests(self, direct: Site, limit: int, status: Status) -> None:
        with Gateway(direct.url, Manners(largest_request_line=limit)) as gateway:
            findings = by_name(examine_cookies(visit(gateway.url)))

        assert findings["site.set-cookie"].status is Status.OK
        finding = findings["site.cookie-size"]
        assert finding.status is status
        assert limit - 512 < bytes_in(finding) < limit
        assert "requests that bring" in finding.found
        assert "status 400" in finding.found

    @pytest.mark.parametrize(("limit", "status"), [(MAX_COOKIE_BYTES, Status.PROBLEM), (8 * 1024, Status.WARNING)])
    def test_a_gateway_that_refuses_large_answers(self, direct: Site, limit: int, status: Status) -> None:
        with Gateway(direct.url, Manners(largest_answer_head=limit)) as gateway:
            findings = by_name(examine_cookies(visit(gateway.url)))

        assert findings["site.set-cookie"].status is Status.OK
        finding = findings["site.cookie-size"]
        assert finding.status is status
        assert bytes_in(finding) < limit
        assert "answers that set" in finding.found
        assert "status 502" in finding.found

    def test_a_gateway_that_lets_no_cookie_out(self, direct: Site) -> None:
        def break_off(lines: list[str]) -> list[str]:
            if lines:
                raise ConnectionError
            return lines

        with Gateway(direct.url, Manners(set_cookies=break_off)) as gateway:
            findings = by_name(examine_cookies(visit(gateway.url)))

        assert {finding.status for finding in findings.values()} == {Status.PROBLEM}

    def test_on_a_developers_machine_it_is_a_note(self, developers: Site) -> None:
        with Gateway(developers.url, Manners(set_cookies=lambda lines: [])) as gateway:
            findings = by_name(examine_cookies(visit(gateway.url)))

        assert {finding.status for finding in findings.values()} == {Status.OK}
        assert findings["site.set-cookie"].advice

    def test_no_session_has_the_names_of_the_trial(self) -> None:
        names = {*trial_cookies(MAX_SESSION_BYTES, "session")}

        assert len(names) == 5
        assert not any(re.fullmatch(r"session(-\d|-new-.*)?", name) for name in names)


class TestStreams:
    def test_a_gateway_that_holds_them_back(self, direct: Site) -> None:
        with Gateway(direct.url, Manners(buffers=True)) as gateway:
            findings = by_name(examine_streams(visit(gateway.url)))

        assert statuses(findings) == {"streamed-page": Status.PROBLEM, "event-stream": Status.PROBLEM}
        assert "holds them back" in findings["site.streamed-page"].found
        assert "buffering" in findings["site.streamed-page"].advice


class TestCaching:
    @pytest.mark.parametrize(
        ("replaces", "status"),
        [
            ({"Cache-Control": "public, max-age=600"}, Status.PROBLEM),
            ({"Cache-Control": "private, s-maxage=60"}, Status.PROBLEM),
            ({"Cache-Control": None}, Status.PROBLEM),
            ({"Age": "31"}, Status.PROBLEM),
            ({"Vary": "Accept-Encoding"}, Status.WARNING),
        ],
        ids=["public", "for shared caches", "silent", "from a cache", "without its Vary"],
    )
    def test_a_gateway_that_keeps_what_is_said_of_a_session(
        self, direct: Site, replaces: dict[str, str | None], status: Status
    ) -> None:
        with Gateway(direct.url, Manners(replaces=replaces)) as gateway:
            (finding,) = examine_caching(visit(gateway.url))

        assert finding.status is status
