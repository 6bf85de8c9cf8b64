"""What `base.html` shows of its user stays out of Django's cache."""

import pytest
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template import engines
from django.urls import path
from django.views.decorators.cache import cache_page

from config.urls import urlpatterns as site
from tests.browsers import ADA, Browser

SHOWN = {
    "user": "{{ user }}",
    "public": '{% extends "base.html" %}{% block account %}{% endblock %}{% block messages %}{% endblock %}',
}


@cache_page(60)
def home(request: HttpRequest) -> HttpResponse:
    return render(request, "home.html")


@cache_page(60)
def shows(request: HttpRequest, what: str) -> HttpResponse:
    page = engines["django"].from_string(SHOWN[what]).render({}, request)
    return HttpResponse(f"{page} for {request.META['HTTP_USER_AGENT']}")


urlpatterns = [path("cached/", home), path("cached/<what>/", shows), *site]
pytestmark = pytest.mark.urls(__name__)


def test_cache_page_does_not_store_the_page_of_one_user_for_all(signed_in: Browser) -> None:
    cache.clear()
    for page in ("/cached/", "/cached/user/"):
        assert ADA in signed_in.get(page, headers={"User-Agent": "hers"}).text
        visitors = Browser().get(page, headers={"User-Agent": "another"})
        assert ADA not in visitors.text
        assert visitors["Cache-Control"] == "private, no-store"

    public = [Browser().get("/cached/public/", headers={"User-Agent": name}) for name in ("first", "second")]
    assert [page.text.endswith("for first") for page in public] == [True, True], "it was stored"
