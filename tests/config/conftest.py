"""nginx with the recipe, in front of gunicorn and a provider whose tokens have any size."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings as django_settings

from tests.accounts.at_provider import Person
from tests.accounts.doctor.gateway import make_certificate
from tests.accounts.odd_provider import OddProvider
from tests.config.nginx import Nginx
from tests.config.proxy import PRODUCTION, sign_in
from tests.load.site import Site


@pytest.fixture(scope="module")
def provider() -> Iterator[OddProvider]:
    """An API that takes tokens of any size."""
    if missing := Nginx.missing():
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    with OddProvider() as provider:
        yield provider


@pytest.fixture(scope="module")
def site(provider: OddProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(
        database_url=f"sqlite:///{tmp_path_factory.mktemp('site') / 'db.sqlite3'}",
        api_url=provider.url,
        workers=1,
        threads=4,
        environment={**provider.site_environment, **PRODUCTION, "SECRET_KEY": django_settings.SECRET_KEY},
    )
    site.migrate()
    with site:
        yield site


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls") / "certificate.pem")


@pytest.fixture(scope="module")
def nginx(site: Site, certificate: Path) -> Iterator[Nginx]:
    with Nginx(site.port, certificate) as nginx:
        yield nginx


@pytest.fixture
def person(provider: OddProvider, nginx: Nginx) -> Iterator[Person]:
    """Somebody who is signed in, and an API that is well."""
    provider.tokens = {}
    provider.forget_calls()
    yield sign_in(provider, nginx)
    provider.heal()
    provider.answers = {}
