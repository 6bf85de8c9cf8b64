"""The middleware that builds the Content-Security-Policy once sends what django-csp's own would send."""

from collections.abc import Callable
from typing import Any

import pytest
from csp.constants import HEADER, HEADER_REPORT_ONLY, NONCE, SELF
from csp.decorators import csp, csp_exempt, csp_replace, csp_update
from csp.exceptions import CSPNonceError
from csp.middleware import CSPMiddleware
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory, override_settings

from config.headers import ContentSecurityPolicyMiddleware

View = Callable[[HttpRequest], Any]


def _plain(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


def _with_nonce(request: HttpRequest) -> HttpResponse:
    nonce: Any = request.csp_nonce  # type: ignore[attr-defined]
    return HttpResponse(str(nonce))


def _with_header_of_its_own(request: HttpRequest) -> HttpResponse:
    return HttpResponse(headers={HEADER: "default-src 'none'"})


VIEWS: dict[str, View] = {
    "plain": _plain,
    "a header of its own": _with_header_of_its_own,
    "exempt": csp_exempt()(_plain),
    "exempt from reports": csp_exempt(REPORT_ONLY=True)(_plain),
    "updated": csp_update({"img-src": ["https://images.example"]})(_plain),
    "replaced": csp_replace({"default-src": None})(_plain),
    "another policy": csp({"default-src": [SELF]})(_plain),
    "reports only": csp({"default-src": [SELF]}, REPORT_ONLY=True)(_plain),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "ours": {},
    "in development": {"DEBUG": True},
    "reports": {"CONTENT_SECURITY_POLICY_REPORT_ONLY": {"DIRECTIVES": {"default-src": [SELF]}}},
    "some pages without": {
        "CONTENT_SECURITY_POLICY": {"EXCLUDE_URL_PREFIXES": ["/open/"], "DIRECTIVES": {"default-src": [SELF]}}
    },
}


def _respond(middleware: type[CSPMiddleware], view: View, request: HttpRequest) -> HttpResponse:
    response: Any = middleware(view)(request)
    assert isinstance(response, HttpResponse)
    return response


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())
@pytest.mark.parametrize("changed", SETTINGS.values(), ids=SETTINGS.keys())
@pytest.mark.parametrize("path", ["/", "/open/"])
def test_its_headers_are_django_csps(view: View, changed: dict[str, Any], path: str) -> None:
    with override_settings(**changed):
        ours, theirs = (
            _respond(middleware, view, RequestFactory().get(path))
            for middleware in (ContentSecurityPolicyMiddleware, CSPMiddleware)
        )
    for header in (HEADER, HEADER_REPORT_ONLY):
        assert ours.get(header) == theirs.get(header)


@override_settings(CONTENT_SECURITY_POLICY={"DIRECTIVES": {"default-src": [SELF], "script-src": [NONCE]}})
def test_a_nonce_is_in_the_header_of_its_response_only() -> None:
    first, second = (
        _respond(ContentSecurityPolicyMiddleware, _with_nonce, RequestFactory().get("/")) for _ in range(2)
    )
    assert first.content != second.content
    for response in (first, second):
        assert f"'nonce-{response.content.decode()}'" in response[HEADER]
    assert "nonce" not in _respond(ContentSecurityPolicyMiddleware, _plain, RequestFactory().get("/"))[HEADER]


def test_a_nonce_that_no_header_has_is_an_error() -> None:
    request = RequestFactory().get("/")
    _respond(ContentSecurityPolicyMiddleware, _plain, request)
    with pytest.raises(CSPNonceError):
        str(request.csp_nonce)  # type: ignore[attr-defined]


def test_between_requests_no_object_raises_when_it_is_asked_for_its_type() -> None:
    middleware: Any = ContentSecurityPolicyMiddleware(_plain)
    middleware(RequestFactory().get("/"))

    assert not any(isinstance(held, HttpRequest) for held in vars(middleware).values())


def test_the_site_uses_it() -> None:
    assert "config.headers.ContentSecurityPolicyMiddleware" in settings.MIDDLEWARE
