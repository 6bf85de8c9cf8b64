"""APIs and providers for the site: real ones, shared by all tests of a run, and a fake provider for each test."""

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from pytest_django import Settings

from tests.accounts.at_provider import forget_documents
from tests.accounts.odd_provider import OddProvider
from tests.browsers import Browser
from tests.real_apis.apis import OAuthProvider, SimpleJwtApi
from tests.real_apis.oidc import OidcProvider

SimpleJwtStarter = Callable[..., SimpleJwtApi]


@pytest.fixture(scope="session")
def running_provider() -> Iterator[OAuthProvider]:
    """A real provider. Access tokens expire after 60 s. It is shared, so tests take `provider`."""
    with OAuthProvider() as provider:
        provider.register_site("http://testserver")
        yield provider


@pytest.fixture(scope="session")
def shared_simplejwt() -> Iterator[SimpleJwtStarter]:
    """Start a real SimpleJWT API with these options, once. It is shared: call `heal` and `forget_calls` after use."""
    with ExitStack() as stack:

        @functools.cache
        def start(**options: Any) -> SimpleJwtApi:
            return stack.enter_context(SimpleJwtApi(**options))

        yield start


@pytest.fixture
def provider(
    running_provider: OAuthProvider, settings: Settings, transactional_db: None, no_documents: None
) -> Iterator[OAuthProvider]:
    """The real provider without faults or recorded calls, and the site configured for it."""
    point_at(settings, running_provider.site_environment)
    running_provider.forget_calls()
    yield running_provider
    running_provider.heal()
    running_provider.start_serving()


@pytest.fixture(scope="session")
def running_strict_provider() -> Iterator[OidcProvider]:
    """oidc-provider with the FAPI 2.0 profile, for tests of `strict_provider`."""
    with OidcProvider(private_key_jwt=True, par="required", dpop=True, dpop_nonces=True, fapi=True) as provider:
        provider.register_site("http://testserver")
        yield provider


@pytest.fixture
def strict_provider(
    running_strict_provider: OidcProvider, settings: Settings, transactional_db: None, no_documents: None
) -> Iterator[OidcProvider]:
    """A real provider that requires PAR and private_key_jwt, without faults or recorded calls. The site uses it."""
    point_at(settings, running_strict_provider.site_environment)
    running_strict_provider.forget_calls()
    yield running_strict_provider
    running_strict_provider.heal()
    running_strict_provider.start_serving()


@pytest.fixture
def odd_provider(settings: Settings, transactional_db: None, no_documents: None) -> Iterator[OddProvider]:
    """A fake provider for this test, and the site configured for it."""
    with OddProvider() as provider:
        point_at(settings, provider.site_environment)
        yield provider


@pytest.fixture
def no_documents() -> None:
    """The site has no cached document of any provider, as after a start."""
    forget_documents()


@pytest.fixture
def newcomer(transactional_db: None) -> Browser:
    """A browser without a session."""
    return Browser()


def point_at(settings: Settings, environment: dict[str, str]) -> None:
    """Set Django's settings to the values of these environment variables."""
    for name, value in environment.items():
        setattr(settings, name, value)
