"""The doctor's connections: certificates and addresses."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from accounts.doctor.api import examine_api
from accounts.doctor.findings import Finding, Status
from accounts.doctor.network import examine_server, origin_of
from accounts.text import parse_address
from tests.accounts.doctor.gateway import Gateway, make_certificate
from tests.accounts.doctor.reports import by_name, statuses
from tests.demo_api.server import DemoApi

PATH = "/protected-route"


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

        findings = by_name(examine_api(PATH))

        assert statuses(findings) == {"connection": Status.OK, "certificate": Status.PROBLEM}
        assert "self-signed" in findings["certificate"].found

    def test_whatever_this_machine_trusts_besides(
        self, gateway: Gateway, certificate: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        settings.API_BASE_URL = gateway.url

        assert by_name(examine_api(PATH))["certificate"].status is Status.PROBLEM

    def test_one_that_runs_out_soon(self, gateway: Gateway, certificate: Path) -> None:
        finding = by_name(examine_server("api", gateway.url, str(certificate)))["certificate"]

        assert finding.status is Status.WARNING
        assert days_left(finding) in (4, 5)

    def test_one_that_has_time(self, api: DemoApi, tmp_path: Path) -> None:
        certificate = make_certificate(tmp_path / "long.pem", days=90)
        with Gateway(api.url, certificate=certificate) as gateway:
            finding = by_name(examine_server("api", gateway.url, str(certificate)))["certificate"]

        assert finding.status is Status.OK

    def test_a_server_without_tls(self, api: DemoApi) -> None:
        url = api.url.replace("http:", "https:")

        assert by_name(examine_server("api", url))["certificate"].status is Status.PROBLEM


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
    assert parse_address(url) is None


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
