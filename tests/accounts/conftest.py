"""Providers in front of the site: a real one, and an odd one that says what it is told to."""

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from tests.accounts.at_provider import forget_documents
from tests.accounts.odd_provider import OddProvider
from tests.browsers import Browser
from tests.real_apis.apis import OAuthProvider


@pytest.fixture(scope="session")
def running_provider() -> Iterator[OAuthProvider]:
    """A real provider, with living access tokens for a minute. It is shared: take `provider`."""
    with OAuthProvider() as provider:
        provider.register_site("http://testserver")
        yield provider


@pytest.fixture
def provider(
    running_provider: OAuthProvider, settings: Settings, transactional_db: None, no_documents: None
) -> Iterator[OAuthProvider]:
    """The real provider, well and with an empty list of calls, and the site pointed at it."""
    point_at(settings, running_provider.site_environment)
    running_provider.forget_calls()
    yield running_provider
    running_provider.heal()
    running_provider.start_serving()


@pytest.fixture
def odd_provider(settings: Settings, transactional_db: None, no_documents: None) -> Iterator[OddProvider]:
    """An odd provider of its own, and the site pointed at it."""
    with OddProvider() as provider:
        point_at(settings, provider.site_environment)
        yield provider


@pytest.fixture
def no_documents() -> None:
    """The site knows nothing of any provider yet, as after a start."""
    forget_documents()


@pytest.fixture
def newcomer(transactional_db: None) -> Browser:
    """A browser that nobody has signed in with yet."""
    return Browser()


def point_at(settings: Settings, environment: dict[str, str]) -> None:
    """Django's settings as they would be with these environment variables."""
    for name, value in environment.items():
        setattr(settings, name, value)
