"""Fixtures for the tests of the admin."""

import pytest
from django.core.cache import cache

from tests.browsers import Browser
from tests.demo_api.server import DemoApi


@pytest.fixture(autouse=True)
def empty_statistics_cache() -> None:
    cache.clear()


@pytest.fixture
def rotated(signed_in: Browser, api: DemoApi) -> Browser:
    """Ada's browser after a rotation, from which on the record holds a sealed copy."""
    api.expire_access_tokens()
    assert signed_in.is_signed_in()
    return signed_in
