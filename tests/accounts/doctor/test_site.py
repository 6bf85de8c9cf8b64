"""What the doctor sees of a deployed site: gunicorn, behind gateways that do what real gateways do."""

from dataclasses import replace
from pathlib import Path

import pytest
from pytest_django import Settings

from accounts.doctor.endpoint import Order
from accounts.doctor.findings import Status
from accounts.doctor.network import DeployedSite, send_order
from accounts.doctor.site import (
    examine_address,
    examine_caching,
    examine_cut_stream,
    examine_plain_http,
    examine_scheme,
    examine_site,
    examine_stream,
)
from tests.accounts.doctor.conftest import NOBODY_PORT, visit
from tests.accounts.doctor.gateway import Behaviour, Gateway
from tests.accounts.doctor.reports import by_name, statuses
from tests.load.site import Site

pytestmark = pytest.mark.usefixtures("site_settings")


def test_a_site_behind_a_proxy_that_does_what_it_should_is_well(deployed: Site, trusted: Path) -> None:
    with Gateway(deployed.url, certificate=trusted) as gateway:
        findings = by_name(examine_site(gateway.url))

    assert set(statuses(findings).values()) == {Status.OK}
    assert {*statuses(findings)} == {
        *("connection", "certificate", "answer", "scheme", "address"),
        *("set-cookie", "cookie-size", "streamed-page", "event-stream", "cut-stream", "caching"),
    }
    assert "5 cookies in one response" in findings["set-cookie"].found


def test_on_a_developers_machine_plain_http_is_a_note(developers: Site, settings: Settings) -> None:
    settings.API_SESSION_COOKIE_NAME = "session"
    settings.TRUSTED_PROXY_COUNT = 0

    findings = by_name(examine_site(developers.url))

    assert set(statuses(findings).values()) == {Status.OK}
    assert "plain HTTP" in findings["scheme"].found
    assert findings["scheme"].advice


def test_debug_on_a_public_site_makes_nothing_a_note(developers: Site) -> None:
    seen = send_order(developers.url, Order.LOOK)

    assert DeployedSite(developers.url, seen).is_in_development
    assert not DeployedSite("https://www.example.com", seen).is_in_development


class TestAnswer:
    def test_nobody_listens(self) -> None:
        findings = by_name(examine_site(f"http://127.0.0.1:{NOBODY_PORT}"))

        assert statuses(findings) == {"connection": Status.PROBLEM}

    def test_a_certificate_that_nobody_vouches_for(self, deployed: Site, certificate: Path) -> None:
        with Gateway(deployed.url, certificate=certificate) as gateway:
            findings = by_name(examine_site(gateway.url))

        assert statuses(findings) == {"connection": Status.OK, "certificate": Status.PROBLEM}
        assert "self-signed" in findings["certificate"].found

    def test_https_where_plain_http_is_spoken(self, direct: Site) -> None:
        findings = by_name(examine_site(direct.url.replace("http:", "https:")))

        assert statuses(findings) == {"connection": Status.OK, "certificate": Status.PROBLEM}

    def test_a_site_with_other_keys(self, direct: Site, settings: Settings) -> None:
        settings.API_SESSION_KEYS = ["another-key-that-the-site-has-never-seen-" + "0" * 20]

        findings = by_name(examine_site(direct.url))

        assert statuses(findings) == {"connection": Status.OK, "answer": Status.PROBLEM}
        assert "404" in findings["answer"].found
        assert "clocks must agree" in findings["answer"].advice
        assert "keys" in findings["answer"].advice

    def test_a_name_that_the_site_does_not_go_by(self, direct: Site) -> None:
        findings = by_name(examine_site(direct.url.replace("127.0.0.1", "localhost")))

        assert findings["answer"].status is Status.PROBLEM
        assert "ALLOWED_HOSTS" in findings["answer"].advice

    @pytest.mark.parametrize("status", [200, 401, 403, 503])
    def test_something_else_that_answers(self, direct: Site, status: int) -> None:
        with Gateway(direct.url, Behaviour(responds=status)) as gateway:
            findings = by_name(examine_site(gateway.url))

        assert statuses(findings) == {"connection": Status.OK, "answer": Status.PROBLEM}

    def test_a_gateway_that_cannot_reach_the_site(self) -> None:
        with Gateway(f"http://127.0.0.1:{NOBODY_PORT}") as gateway:
            findings = by_name(examine_site(gateway.url))

        assert statuses(findings) == {"connection": Status.OK, "answer": Status.PROBLEM}

    def test_plain_http_that_is_redirected(self, deployed: Site) -> None:
        findings = by_name(examine_site(deployed.url))

        assert findings["answer"].status is Status.PROBLEM
        assert findings["answer"].advice == f"Ask there: --url {deployed.url.replace('http:', 'https:')}"

    def test_settings_that_are_not_the_sites(self, direct: Site) -> None:
        findings = by_name(examine_site(direct.url))

        assert findings["settings"].status is Status.WARNING
        assert "cookie name, trusted proxies" in findings["settings"].found

    def test_a_gateway_that_asks_for_another_host(self, direct: Site) -> None:
        with Gateway(direct.url, Behaviour(host="127.0.0.1:1234", sets_proto=None)) as gateway:
            findings = by_name(examine_site(gateway.url))

        assert findings["answer"].status is Status.WARNING
        assert "127.0.0.1:1234" in findings["answer"].found

    def test_a_site_that_goes_away_meanwhile(self, direct: Site) -> None:
        answers = []

        def go_away(lines: list[str]) -> list[str]:
            answers.append(lines)
            if len(answers) > 1:
                raise ConnectionError
            return lines

        with Gateway(direct.url, Behaviour(sets_proto=None, set_cookies=go_away)) as gateway:
            findings = statuses(by_name(examine_site(gateway.url)))

        assert findings.pop("connection") is findings.pop("answer") is Status.OK
        # Which this site has for good reasons, see above.
        del findings["settings"]
        assert findings == {
            "scheme": Status.WARNING,
            **dict.fromkeys(
                ["address", "set-cookie", "cookie-size", "streamed-page", "event-stream", "cut-stream", "caching"],
                Status.PROBLEM,
            ),
        }


class TestScheme:
    def test_nobody_says_https_and_the_site_redirects_without_end(self, deployed: Site, trusted: Path) -> None:
        with Gateway(deployed.url, Behaviour(sets_proto=None), certificate=trusted) as gateway:
            findings = by_name(examine_site(gateway.url))

        assert findings["answer"].status is Status.PROBLEM
        assert "without end" in findings["answer"].found
        assert "X-Forwarded-Proto" in findings["answer"].advice

    def test_nobody_says_https_and_the_site_does_not_redirect(self, direct: Site, trusted: Path) -> None:
        with Gateway(direct.url, Behaviour(sets_proto=None), certificate=trusted) as gateway:
            finding = examine_scheme(visit(gateway.url))

        assert finding.status is Status.PROBLEM
        assert "not set" in finding.found

    def test_plain_http_that_passes_for_https(self, deployed: Site) -> None:
        with Gateway(deployed.url, Behaviour(sets_proto="https")) as gateway:
            finding = examine_scheme(visit(gateway.url))

        assert finding.status is Status.PROBLEM

    def test_plain_http_on_this_machine_is_no_more_than_a_warning(self, direct: Site) -> None:
        finding = examine_scheme(visit(direct.url))

        assert finding.status is Status.WARNING

    def test_plain_http_leads_to_https(self, deployed: Site) -> None:
        assert examine_plain_http(deployed.url).status is Status.OK

    def test_plain_http_is_served(self, direct: Site) -> None:
        assert examine_plain_http(direct.url).status is Status.PROBLEM

    def test_nobody_is_there_on_plain_http(self) -> None:
        assert examine_plain_http(f"http://127.0.0.1:{NOBODY_PORT}").status is Status.OK


class TestAddress:
    def test_more_proxies_than_are_trusted(self, direct: Site) -> None:
        with Gateway(direct.url, Behaviour(sets_proto=None)) as gateway:
            finding = examine_address(visit(gateway.url))

        assert finding.status is Status.PROBLEM
        assert "TRUSTED_PROXY_COUNT=1" in finding.advice

    def test_fewer_proxies_than_are_trusted_so_that_a_visitor_can_choose(self, deployed: Site, trusted: Path) -> None:
        with Gateway(deployed.url, Behaviour(adds_address=False), certificate=trusted) as gateway:
            finding = examine_address(visit(gateway.url))

        assert finding.status is Status.PROBLEM
        assert "forge" in finding.found
        assert "TRUSTED_PROXY_COUNT=0" in finding.advice

    @pytest.mark.parametrize(
        ("address", "what"), [("", "cannot see"), ("10.255.255.254", "an address of a private network")]
    )
    def test_one_that_can_hardly_be_a_visitors(self, direct: Site, address: str, what: str) -> None:
        first = send_order(direct.url, Order.LOOK)
        seen = {**first.seen, "address": address}

        finding = examine_address(DeployedSite(direct.url, replace(first, seen=seen)))

        assert finding.status is Status.WARNING
        assert what in finding.found


class TestStreams:
    @pytest.mark.parametrize("order", [Order.STREAM_PAGE, Order.STREAM_EVENTS])
    def test_a_gateway_that_holds_them_back(self, direct: Site, order: Order) -> None:
        with Gateway(direct.url, Behaviour(buffers=True)) as gateway:
            finding = examine_stream(visit(gateway.url), "site.stream", order)

        assert (finding.name, finding.status) == ("site.stream", Status.PROBLEM)
        assert "holds them back" in finding.found
        assert "buffering" in finding.advice

    def test_a_gateway_that_makes_a_cut_stream_look_complete(self, direct: Site) -> None:
        log = direct.log
        with Gateway(direct.url, Behaviour(hides_cuts=True)) as gateway:
            finding = examine_cut_stream(visit(gateway.url))

        assert (finding.name, finding.status) == ("site.cut-stream", Status.PROBLEM)
        assert "looks complete over HTTP/1.1:" in finding.found
        assert direct.log == log, "nothing that an operator would take for an error"

    def test_a_gateway_that_refuses_the_stream(self, direct: Site) -> None:
        site = visit(direct.url)
        with Gateway(direct.url, Behaviour(responds=502)) as gateway:
            finding = examine_cut_stream(replace(site, url=gateway.url))

        assert finding.status is Status.PROBLEM
        assert "502" in finding.found


class TestCaching:
    @pytest.mark.parametrize(
        ("replaces", "status"),
        [
            ({"Cache-Control": "public, max-age=600"}, Status.PROBLEM),
            ({"Cache-Control": "private, s-maxage=60"}, Status.PROBLEM),
            ({"Cache-Control": None}, Status.PROBLEM),
            ({"Age": "31"}, Status.PROBLEM),
            ({"Age": "0"}, Status.OK),
            ({"Vary": "Accept-Encoding"}, Status.WARNING),
        ],
        ids=["public", "for shared caches", "silent", "from a cache", "never from a cache", "without its Vary"],
    )
    def test_a_gateway_that_keeps_what_is_said_of_a_session(
        self, direct: Site, replaces: dict[str, str | None], status: Status
    ) -> None:
        with Gateway(direct.url, Behaviour(replaces=replaces)) as gateway:
            finding = examine_caching(visit(gateway.url))

        assert finding.status is status

    def test_a_cache_that_stores_what_it_must_not(self, direct: Site) -> None:
        with Gateway(direct.url, Behaviour(caches=True)) as gateway:
            finding = examine_caching(visit(gateway.url))

        assert finding.status is Status.PROBLEM
        assert "gives" in finding.found
        assert "Age is 0" in finding.found
