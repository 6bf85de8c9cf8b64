"""An app of one's own, with its templates in its own folder and with messages, as Django's documentation has it."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from django.contrib import messages
from django.db import connection
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.test.utils import CaptureQueriesContext
from django.urls import include, path
from pytest_django import Settings

import config.urls
from accounts.api_client import ApiRequest
from accounts.streaming import stream_html
from tests.browsers import ADA, Answer, Browser
from tests.demo_api.faults import Fault
from tests.demo_api.server import DemoApi

PAGE = """{% extends "base.html" %}
{% block title %}Stall{% endblock %}
{% block main %}<h1>Fish for {{ user }} at {{ request.path }}</h1><!-- rows -->{% endblock %}
"""
PUBLIC = PAGE.replace("{{ user }}", "all") + "{% block account %}{% endblock %}{% block messages %}{% endblock %}"
LEVELS = {"debug": 10, "info": 20, "success": 25, "warning": 30, "error": 40}


def page(request: HttpRequest) -> HttpResponse:
    return render(request, "stall/page.html")


def sell(request: HttpRequest) -> HttpResponse:
    messages.success(request, "Sold <one> herring.")
    return redirect("/stall/")


def every_level(request: HttpRequest) -> HttpResponse:
    messages.set_level(request, 10)
    for name, level in LEVELS.items():
        messages.add_message(request, level, f"A {name}.")
    return page(request)


def streamed(request: ApiRequest) -> HttpResponseBase:
    def parts() -> Iterator[str]:
        head, foot = render_to_string("stall/page.html", request=request).split("<!-- rows -->")
        yield head
        request.api.get("/protected-route")
        yield "a row" + foot

    return stream_html(request, parts())


def nothing(request: HttpRequest) -> HttpResponse:
    raise Http404


def crash(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("the ice has melted")


def public(request: HttpRequest) -> HttpResponse:
    return render(request, "stall/public.html")


def of_grace(request: HttpRequest) -> HttpResponse:
    return render(request, "stall/page.html", {"user": "Grace"})


def plain(request: HttpRequest) -> HttpResponse:
    return HttpResponse("no template")


@pytest.fixture(autouse=True)
def stall(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The app `stall` with `stall/templates/stall/page.html`, installed, and its addresses below /stall/."""
    templates = tmp_path / "stall" / "templates" / "stall"
    templates.mkdir(parents=True)
    (tmp_path / "stall" / "__init__.py").touch()
    (templates / "page.html").write_text(PAGE)
    (templates / "public.html").write_text(PUBLIC)
    monkeypatch.syspath_prepend(tmp_path)
    urls = ModuleType("stall_urls")
    views = [sell, every_level, streamed, nothing, crash, plain, public, of_grace]
    urls.urlpatterns = [  # type: ignore[attr-defined]
        path("stall/", include([path("", page), *(path(f"{view.__name__}/", view) for view in views)])),
        path("", include(config.urls)),
    ]
    monkeypatch.setitem(sys.modules, "stall_urls", urls)
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "stall"]
    settings.ROOT_URLCONF = "stall_urls"
    settings.DEBUG = False


def shown(response: Answer) -> int:
    """How often the message is in a page."""
    text = b"".join(response.streaming_content).decode() if response.streaming else response.text  # type: ignore[attr-defined]
    return text.count("Sold &lt;one&gt; herring.")


def test_a_template_of_the_app_extends_the_sites_and_has_request_and_user(browser: Browser) -> None:
    text = browser.get("/stall/").text

    assert "<h1>Fish for " in text
    assert "at /stall/</h1>" in text
    assert "site.css" in text


def test_a_message_is_shown_once_and_costs_no_query(browser: Browser) -> None:
    with CaptureQueriesContext(connection) as queries:
        sold = browser.get("/stall/sell/")
        first, second = browser.get("/stall/"), browser.get("/stall/")

    assert (shown(first), shown(second)) == (1, 0)
    assert '<p class="notice success" role="status">' in first.text
    assert sold.cookies["messages"]["httponly"]
    assert first.cookies["messages"].value == ""
    assert "messages" not in second.cookies, "a page without a message sets no cookie"
    assert len(queries) == 0
    assert "sessionid" not in browser.client.cookies


def test_each_level_has_its_look_and_only_what_is_wrong_is_an_alert(browser: Browser) -> None:
    text = browser.get("/stall/every_level/").text

    for name in LEVELS:
        role = "alert" if name in ("warning", "error") else "status"
        assert f'<p class="notice {name}" role="{role}">A {name}.</p>' in text


def test_a_streamed_page_shows_a_message_once(signed_in: Browser) -> None:
    signed_in.get("/stall/")
    signed_in.get("/stall/sell/")

    first = signed_in.get("/stall/streamed/")

    assert shown(first) == 1
    assert shown(signed_in.get("/stall/streamed/")) == 0
    assert "Cookie" in first["Vary"]


def test_a_stream_that_fails_at_its_beginning_is_an_error_page(browser: Browser) -> None:
    def parts(request: ApiRequest) -> Iterator[str]:
        request.api_session.require()
        yield "never"

    urls = sys.modules["stall_urls"]
    urls.urlpatterns.insert(0, path("early/", lambda request: stream_html(request, parts(request))))

    assert browser.get("/early/")["Location"] == "/accounts/login/?next=%2Fearly%2F"


def test_error_pages_show_a_message_once_or_leave_it_for_the_next_page(signed_in: Browser, api: DemoApi) -> None:
    signed_in.get("/stall/sell/")
    assert shown(signed_in.get("/stall/plain/")) == 0
    assert shown(signed_in.get("/stall/crash/")) == 0
    assert [shown(signed_in.get("/stall/nothing/")) for _ in range(2)] == [1, 0]

    signed_in.get("/stall/sell/")
    api.fail("GET", "/protected-route", Fault.answer(503), times=2)
    assert [shown(signed_in.get("/protected/")) for _ in range(2)] == [1, 0]
    assert ADA in signed_in.get("/protected/").text


def test_a_page_depends_on_the_session_unless_it_leaves_out_who_is_signed_in(signed_in: Browser) -> None:
    page, plain, public = (signed_in.get(f"/stall/{name}") for name in ("", "plain/", "public/"))

    assert (page["Vary"], page["Cache-Control"]) == ("Cookie", "private, no-store")
    assert "csrftoken" in page.cookies
    for response in (plain, public):
        assert "Vary" not in response
        assert not response.cookies
    assert "<h1>Fish for all at /stall/public/</h1>" in public.text


def test_a_view_with_another_user_does_not_change_who_is_signed_in(signed_in: Browser) -> None:
    text = signed_in.get("/stall/of_grace/").text

    assert "<h1>Fish for Grace" in text
    assert f"Signed in as <strong>{ADA}</strong>" in text
