"""The panel of Django Debug Toolbar: the request trace of the page."""

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

# The fixture fills this in, because the toolbar's own views need its app, which is not installed otherwise.
urlpatterns: list[object] = []


@pytest.fixture
def toolbar(settings: Settings) -> Iterator[None]:
    """The site with the settings of config/settings.py for DEBUG_TOOLBAR."""
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
    # Removes the toolbar's checks, which look for its app.
    registry.registered_checks = checks


def panel(browser: Browser, path: str) -> str:
    """The panel's content for a page, fetched in the same way as by the toolbar's script."""
    page = browser.get(path).text
    [request_id] = re.findall(r'data-request-id="(\w+)"', page)
    return str(
        browser.get(f"/__debug__/render_panel/?request_id={request_id}&panel_id=RequestTracePanel").json()["content"]
    )


@pytest.mark.usefixtures("toolbar")
class TestThePanel:
    def test_it_shows_the_trace_of_this_page(self, known: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()

        shown = panel(known, "/protected/")

        assert [call.path for call in api.calls] == ["/protected-route", "/auth/refresh", "/protected-route"]
        assert re.findall(r">([^<>]*/[^<]*)</text>", shown) == [
            *("GET /protected/", "/protected-route", "/auth/refresh", "/protected-route"),
        ]
        assert ">Set-Cookie</text>" in shown
        assert ">generation 1</text>" in shown
        assert 'href="/static/accounts/diagram.css"' in shown

    def test_its_subtitle_is_a_summary(self, known: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()

        assert "200, rotated to generation 1" in known.open_page().text

    def test_it_shows_the_request_of_a_visitor(self, trace_writer: object, browser: Browser) -> None:
        assert "The request has no session." in panel(browser, "/accounts/login/")

    def test_without_a_trace_it_says_why(self, known: Browser, settings: Settings) -> None:
        settings.API_TRACE = False

        assert "API_TRACE is off" in panel(known, "/protected/")


def test_without_the_toolbar_pages_have_no_panel(known: Browser) -> None:
    assert "djDebug" not in known.open_page().text
