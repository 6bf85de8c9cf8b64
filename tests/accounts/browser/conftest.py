import pytest
from pytest_django import Settings


@pytest.fixture
def production(settings: Settings) -> None:
    """The cookie settings of config/settings.py without DEBUG."""
    settings.API_SESSION_COOKIE_NAME = "__Host-session"
    settings.API_SESSION_COOKIE_SECURE = True
