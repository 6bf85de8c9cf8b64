"""A page whose view each test writes itself, and the calls that the demo API received."""

from collections.abc import Callable
from typing import Any

from django.http import HttpResponse
from django.urls import path

from accounts.api_client import ApiRequest
from config.urls import urlpatterns as site
from tests.browsers import Answer, Browser
from tests.demo_api.server import DemoApi

SECRET = "/protected-route"
REFRESHED = ("POST", "/auth/refresh", 200)


def visit(request: ApiRequest) -> HttpResponse:
    """A page whose view each test writes itself."""
    view: Callable[[ApiRequest], HttpResponse] = request.META["tests.view"]
    return view(request)


urlpatterns = [path("visit/", visit), *site]


def call(browser: Browser, method: str, path: str = SECRET, **options: Any) -> Answer:
    """Visit a page whose view makes this call, and returns the API's response."""

    def view(request: ApiRequest) -> HttpResponse:
        response = request.api.request(method, path, **options)
        return HttpResponse(response.content, status=response.status_code, content_type="application/json")

    return browser.get("/visit/", **{"tests.view": view})


def sent(api: DemoApi) -> list[tuple[str, str, int]]:
    return [(call.method, call.path, call.status) for call in api.calls]
