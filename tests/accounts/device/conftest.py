"""A site over HTTPS, and a browser that can bind its session to its device."""

import pytest
from django.test import override_settings
from pytest_django import Settings

from tests.demo_api.server import DemoApi
from tests.device_browser import DeviceBrowser
from tests.plugin import SIGN_IN_LIMITS


@pytest.fixture
def site(settings: Settings, api: DemoApi, transactional_db: None) -> DemoApi:
    """The API of a site over HTTPS."""
    settings.API_SESSION_COOKIE_SECURE = True
    settings.API_SESSION_COOKIE_NAME = "__Host-session"
    return api


@pytest.fixture
def bound(site: DemoApi) -> DeviceBrowser:
    """A browser in which Ada has signed in. Its session is bound to its device, and the record says so."""
    browser = signed_in_over_https()
    assert browser.open_page().status_code == 200
    assert browser.record().device_key
    return browser


def signed_in_over_https(*, registers: bool = True) -> DeviceBrowser:
    browser = DeviceBrowser()
    browser.registers = registers
    with override_settings(**dict.fromkeys(SIGN_IN_LIMITS, "")):
        assert browser.sign_in().status_code == 302
    return browser
