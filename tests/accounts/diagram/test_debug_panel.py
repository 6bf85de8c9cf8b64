"""The panel of Django Debug Toolbar: the exchange behind the page that it is on."""

import re
from collections.abc import Iterator

import pytest
from django.core.checks.registry import registry
from django.urls import clear_url_caches
from pytest_django import Settings

from config.urls import urlpatterns as pages
from tests.accounts.telemetry.traces import known, trace_writer
from tests.browsers import Browser
from tests.demo_api.server import DemoApi

__all__ = ["known", "trace_writer"]

# Filled in by the fixture: the toolbar's own views are models of an app that is not installed otherwise.
urlpatterns: list[object] = []


@pytest.fixture
def toolbar(settings: Settings) -> Iterator[None]:
    """The site as config/settings.py makes it where DEBUG_TOOLBAR is on."""
    checks = registry.registered_checks.copy()
    settings.DEBUG = True
    settings.DEBUG_TOOLBAR_PANELS = ["accounts.diagram.debug_panel.RequestTracePanel"]
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "debug_toolbar"]
    position = settings.MIDDLEWARE.index("accounts.middleware.ApiSessionMiddleware")
    settings.MIDDLEWARE = [
        *settings.MIDDLEWARE[:position],
        "debug_toolbar.middleware.DebugToolbarMiddleware",
        *settings.MIDDLEWARE[position:],
    ]
    settings.INTERNAL_IPS = ["127.0.0.1"]
    settings.ROOT_URLCONF = __name__

    from debug_toolbar.toolbar import debug_toolbar_urls

    urlpatterns[:] = [*pages, *debug_toolbar_urls()]
    clear_url_caches()
    yield
    urlpatterns.clear()
    # The toolbar's own, which look for its app.
    registry.registered_checks = checks


def panel(browser: Browser, path: str) -> str:
    """What the panel shows of a page, fetched as the toolbar's script does."""
    page = browser.get(path).text
    [request_id] = re.findall(r'data-request-id="(\w+)"', page)
    return str(
        browser.get(f"/__debug__/render_panel/?request_id={request_id}&panel_id=RequestTracePanel").json()["content"]
    )


@pytest.mark.usefixtures("toolbar")
class TestThePanel:
    def test_it_draws_what_happened_for_this_page(self, known: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()

        shown = panel(known, "/protected/")

        assert [call.path for call in api.calls] == ["/protected-route", "/auth/refresh", "/protected-route"]
        assert re.findall(r">([^<>]*(?:GET|POST) /[^<]*)</text>", shown) == [
            *("GET /protected/", "GET /protected-route", "POST /auth/refresh", "GET /protected-route"),
        ]
        assert "Set-Cookie, generation 1" in shown
        assert 'href="/static/accounts/diagram.css"' in shown

    def test_it_says_the_same_in_a_line(self, known: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()

        assert "200, renewed to generation 1" in known.open_page().text

    def test_a_visitors_request_is_drawn_too(self, trace_writer: object, browser: Browser) -> None:
        assert "It came without a session." in panel(browser, "/accounts/login/")

    def test_where_nothing_is_recorded_it_says_so(self, known: Browser, settings: Settings) -> None:
        settings.API_TRACE = False

        assert "API_TRACE is off" in panel(known, "/protected/")


def test_no_page_has_it_otherwise(known: Browser) -> None:
    assert "djDebug" not in known.open_page().text
