"""Sites that the doctor examines: gunicorn, with one worker each. The files of this folder share them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from gunicorn.config import LimitRequestFieldSize
from pytest_django import Settings

from accounts.doctor.endpoint import Order
from accounts.doctor.network import DeployedSite, send_order
from tests.accounts.doctor.gateway import make_certificate
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


@pytest.fixture(scope="package")
def direct(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site on plain HTTP that trusts no proxy."""
    # Its gunicorn has gunicorn's own limit, and not the one of gunicorn.conf.py.
    limit = f"--limit-request-field_size {LimitRequestFieldSize.default}"
    with a_site(tmp_path_factory.mktemp("direct"), GUNICORN_CMD_ARGS=limit) as site:
        yield site


@pytest.fixture(scope="package")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site behind one proxy."""
    with a_site(tmp_path_factory.mktemp("deployed"), **PRODUCTION) as site:
        yield site


@pytest.fixture(scope="package")
def developers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site with DEBUG on."""
    with a_site(tmp_path_factory.mktemp("developers"), DEBUG="true") as site:
        yield site


@pytest.fixture(scope="package")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls") / "certificate.pem")


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The certificate, trusted by this machine's administrator."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    return certificate


@pytest.fixture
def site_settings(settings: Settings) -> None:
    settings.API_SESSION_COOKIE_NAME = PRODUCTION["API_SESSION_COOKIE_NAME"]
    settings.TRUSTED_PROXY_COUNT = 1


def visit(url: str) -> DeployedSite:
    return DeployedSite(url, send_order(url, Order.LOOK))
