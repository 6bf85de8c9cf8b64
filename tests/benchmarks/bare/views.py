"""The protected page as one writes it where a token never changes, and less than that, step by step."""

import time
from http.cookiejar import DefaultCookiePolicy

import requests
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe
from requests.adapters import HTTPAdapter

from accounts.browser.client_address import client_address
from accounts.conf import conf
from accounts.session.tokens import User
from accounts.upstream.deadline import Deadline
from accounts.upstream.transport import pooled_adapter, prepare
from protected.tables import as_table
from tests.benchmarks.quick_api import ROWS

_BEARER = {"Authorization": f"Bearer {settings.API_ACCESS_TOKEN}"}  # type: ignore[misc]  # in bare/settings.py
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "gzip, deflate", "User-Agent": "django-bff", **_BEARER}
_TIMEOUT = (settings.API_CONNECT_TIMEOUT, settings.API_READ_TIMEOUT)
_URL = f"{settings.API_BASE_URL}/protected-route"
_USER = User(id=7, name="ada@example.com", email="ada@example.com")
_ACCOUNT = {"user": _USER}

# One session for the process, without what it need not do: no proxies and passwords from the environment, no cookies.
_session = requests.Session()
_session.trust_env = False
_session.headers.update(_HEADERS)
_session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
_session.mount(_URL, HTTPAdapter(pool_maxsize=100))
_adapter = HTTPAdapter(pool_maxsize=100)


@require_safe
def dashboard(request: HttpRequest) -> HttpResponse:
    """One call to the API, rendered: what `requests` documents, with a kept session."""
    answer = _session.get(_URL, timeout=_TIMEOUT, allow_redirects=False)
    answer.raise_for_status()
    return _page(request, answer.json())


@require_safe
def prepared(request: HttpRequest) -> HttpResponse:
    """The same, past the session: a request prepared by `requests`, and sent through its adapter."""
    call = requests.Request("GET", _URL, headers=_HEADERS).prepare()
    answer = _adapter.send(call, timeout=_TIMEOUT)
    _ = answer.content
    answer.raise_for_status()
    return _page(request, answer.json())


@require_safe
def our_call(request: HttpRequest) -> HttpResponse:
    """The same as the site itself calls the API: over its own transport, with its deadline for the whole answer."""
    call = prepare("GET", "/protected-route", headers=_BEARER, address=client_address(request))
    with Deadline(time.monotonic() + conf.attempt_seconds):
        answer = pooled_adapter().send(call, timeout=_TIMEOUT, proxies={})
        _ = answer.content
    answer.raise_for_status()
    return _page(request, answer.json())


@require_safe
def no_call(request: HttpRequest) -> HttpResponse:
    """The page from data that was there before."""
    return _page(request, {"data": ROWS})


@require_safe
def nothing(request: HttpRequest) -> HttpResponse:
    """What the server, Django and its middleware take for any page."""
    return HttpResponse("nothing")


def _page(request: HttpRequest, body: object) -> HttpResponse:
    context = {
        "table": as_table(body),
        "user": _USER,
        "account": _ACCOUNT,
        "generation": 0,
        "access_seconds_left": 3600,
        "traced": False,
    }
    return render(request, "protected/dashboard.html", context)
