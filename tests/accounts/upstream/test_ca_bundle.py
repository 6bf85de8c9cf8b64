"""API_CA_BUNDLE: an API and a provider with a certificate of a company's own authority, over real TLS."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.core.checks import run_checks
from pytest_django import Settings

from accounts.dialects.discovery import current_provider
from accounts.doctor.api import examine_api
from accounts.doctor.findings import Status
from accounts.upstream.calls import ApiAnswer
from accounts.upstream.transport import NotSent
from tests.accounts.at_provider import forget_documents
from tests.accounts.doctor.gateway import Gateway, make_certificate
from tests.accounts.odd_provider import REALM, OddProvider
from tests.accounts.upstream.scripted_api import Api, say, whole
from tests.browsers import Browser
from tests.demo_api.server import DemoApi

COMMENT = "# Főtanúsítvány, the authority of the harbour\r\n".encode()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A company's authority as a PEM file, and a server's certificate that it has issued, with its key."""
    folder = tmp_path_factory.mktemp("authority")
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in ("Harbour CA", "127.0.0.1")]
    certificates = [
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(names[0])
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=2))
        .not_valid_after(datetime.now(UTC) + timedelta(days=90))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=name == names[0], path_length=None), critical=True)
        .sign(keys[0], hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
        for name, key in zip(names, keys, strict=True)
    ]
    key = keys[1].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "authority.pem").write_bytes(COMMENT + certificates[0])
    (folder / "server.pem").write_bytes(key + certificates[1])
    return folder / "authority.pem", folder / "server.pem"


@pytest.fixture
def secure_api(api: DemoApi, authority: tuple[Path, Path], settings: Settings) -> Iterator[DemoApi]:
    """The demo API behind TLS, for this site."""
    with Gateway(api.url, certificate=authority[1]) as gateway:
        settings.API_BASE_URL = gateway.url
        yield api


class TestTrustedAuthority:
    @pytest.fixture(autouse=True)
    def _bundle(self, authority: tuple[Path, Path], settings: Settings) -> None:
        settings.API_CA_BUNDLE = str(authority[0])

    def test_every_call_to_the_api_works(self, secure_api: DemoApi, browser: Browser) -> None:
        assert browser.sign_in().status_code == 302
        assert browser.open_page().status_code == 200
        secure_api.expire_access_tokens()
        assert browser.open_page().status_code == 200
        browser.sign_out()

        called = [(call.path, call.status) for call in secure_api.calls]
        assert called == [
            ("/auth/login", 200),
            ("/protected-route", 200),
            ("/protected-route", 401),
            ("/auth/refresh", 200),
            ("/protected-route", 200),
            ("/auth/logout", 204),
        ]

    def test_so_do_calls_to_the_provider(self, authority: tuple[Path, Path], settings: Settings) -> None:
        forget_documents()
        with OddProvider() as provider, Gateway(provider.url, certificate=authority[1]) as gateway:
            issuer = gateway.url + REALM
            provider.metadata = {"issuer": issuer, "token_endpoint": f"{issuer}/token"}
            provider.metadata |= {"authorization_endpoint": f"{issuer}/authorize", "jwks_uri": f"{issuer}/keys"}
            provider.metadata |= {"revocation_endpoint": None, "userinfo_endpoint": None, "end_session_endpoint": None}
            settings.API_DIALECT, settings.OAUTH_ISSUER = "oauth2", issuer

            assert current_provider().token_endpoint == f"{issuer}/token"

    def test_the_doctor_trusts_it_too(self, secure_api: DemoApi, transactional_db: None) -> None:
        findings = list(examine_api("/protected-route"))

        assert {finding.status for finding in findings} == {Status.OK}
        assert "api.certificate" in {finding.name for finding in findings}

    def test_the_well_known_ones_stay_trusted(
        self, ask: Callable[..., ApiAnswer], trusted_certificate: Path, authority: tuple[Path, Path]
    ) -> None:
        for certificate in (trusted_certificate, authority[1]):
            with Api(say(whole(b"{}")), certificate=certificate) as api:
                assert ask(api.url).status == 200

    def test_any_other_does_not_become_trusted(self, ask: Callable[..., ApiAnswer], tmp_path: Path) -> None:
        with Api(say(whole(b"{}")), certificate=make_certificate(tmp_path / "stranger.pem")) as api:
            with pytest.raises(NotSent, match="not trusted"):
                ask(api.url)

            assert api.requests == []


class TestWithoutIt:
    def test_a_sign_in_is_unavailable_and_the_log_says_why(
        self, secure_api: DemoApi, browser: Browser, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert browser.sign_in().status_code == 503

        assert "the certificate is not trusted: unable to get local issuer certificate" in caplog.text
        assert "API_CA_BUNDLE" in caplog.text
        assert secure_api.calls == []

    def test_so_is_a_page(
        self,
        api: DemoApi,
        signed_in: Browser,
        settings: Settings,
        authority: tuple[Path, Path],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        with Gateway(api.url, certificate=authority[1]) as gateway:
            settings.API_BASE_URL = gateway.url

            assert signed_in.open_page().status_code == 503

        assert "ApiUnavailable: no response: the certificate is not trusted: " in caplog.text
        assert "API_CA_BUNDLE" in caplog.text

    def test_a_certificate_that_has_expired_needs_no_setting(
        self, ask: Callable[..., ApiAnswer], tmp_path: Path, settings: Settings
    ) -> None:
        certificate = make_certificate(tmp_path / "expired.pem", days=-1)
        settings.API_CA_BUNDLE = str(certificate)
        with Api(say(whole(b"{}")), certificate=certificate) as api, pytest.raises(NotSent) as caught:
            ask(api.url)

        assert str(caught.value) == "the certificate is not trusted: certificate has expired"

    def test_the_doctor_names_the_setting(self, secure_api: DemoApi) -> None:
        (finding,) = [finding for finding in examine_api("/protected-route") if finding.status is not Status.OK]

        assert finding.name == "api.certificate"
        assert "API_CA_BUNDLE" in finding.advice


class TestUnusableFile:
    @pytest.fixture(params=["missing", "empty", "a folder", "a key", "damaged"])
    def bundle(self, request: pytest.FixtureRequest, tmp_path: Path, authority: tuple[Path, Path]) -> str:
        path = tmp_path / "bundle.pem"
        match request.param:
            case "empty":
                path.write_text("")
            case "a folder":
                path.mkdir()
            case "a key":
                path.write_bytes(authority[1].read_bytes().partition(b"-----BEGIN CERTIFICATE")[0])
            case "damaged":
                path.write_bytes(authority[0].read_bytes().replace(b"MII", b"!!!"))
        return str(path)

    @pytest.mark.django_db
    def test_a_check_finds_it(self, bundle: str, settings: Settings) -> None:
        settings.DEBUG, settings.API_CA_BUNDLE = True, bundle

        (message,) = [message for message in run_checks() if str(message.id).startswith("accounts.")]

        assert (message.id, message.is_serious()) == ("accounts.E018", True)
        assert bundle in message.msg

    def test_calls_go_on_without_it(
        self,
        ask: Callable[..., ApiAnswer],
        bundle: str,
        settings: Settings,
        trusted_certificate: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        settings.API_CA_BUNDLE = bundle
        with Api(say(whole(b"{}")), certificate=trusted_certificate) as api:
            assert ask(api.url).status == 200

        assert "API_CA_BUNDLE" in caplog.text


@pytest.mark.django_db
def test_a_file_with_an_authority_is_fine(authority: tuple[Path, Path], settings: Settings) -> None:
    settings.DEBUG, settings.API_CA_BUNDLE = True, f"{authority[0]}\n"

    assert not [message for message in run_checks() if str(message.id).startswith("accounts.")]
