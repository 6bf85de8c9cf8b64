"""The proxy for browser scripts: the calls that it passes on."""

from typing import Any

import pytest
from django.core.checks import run_checks
from pytest_django import Settings

from protected.proxy import Rule, is_evasive, parse_rules
from tests.browsers import Browser
from tests.demo_api.server import DemoApi, Fault
from tests.protected.proxy_calls import EVERYTHING, FORMS, PROXY, body_of, call_proxy

#: The rest of the address, as it stands in the request line.
EVASIONS = {
    "dots": "protected-route/../auth/login",
    "dots at the end": "protected-route/..",
    "dots at the start": "../protected-route",
    "one dot": "protected-route/./rows/1",
    "a dot at the end": "protected-route/.",
    "encoded dots": "protected-route/%2e%2e/auth/login",
    "half encoded dots": "protected-route/.%2E/auth/login",
    "encoded dot": "protected-route/%2e/rows/1",
    "dots encoded twice": "protected-route/%252e%252e/auth/login",
    "dots encoded three times": "protected-route/%25252e%25252e/auth/login",
    "an encoded slash": "protected-route%2Frows%2F1",
    "an encoded slash in small letters": "protected-route%2frows/1",
    "a slash encoded twice": "protected-route%252Frows%252F1",
    "an encoded slash at the end": "protected-route%2F",
    "an encoded slash at the start": "%2Fprotected-route",
    "two slashes": "protected-route//rows/1",
    "two slashes at the end": "protected-route//",
    "two slashes at the start": "/protected-route",
    "three slashes at the start": "//protected-route",
    "another host": "/evil.example/protected-route",
    "an absolute URL": "http://evil.example/protected-route",
    "an absolute URL, encoded": "http:%2F%2Fevil.example%2Fprotected-route",
    "an absolute URL with one slash": "http:/evil.example/protected-route",
    "user information": "@evil.example/protected-route",
    "a backslash": "protected-route\\..\\auth\\login",
    "an encoded backslash": "protected-route%5C..%5Cauth%5Clogin",
    "a backslash encoded twice": "protected-route%255C..%255Cauth",
    "a NUL": "protected-route/%00",
    "a line end": "protected-route/rows/1%0A",
    "a header": "protected-route/x%0D%0AX-Injected:%20yes",
    "a tab": "protected-route/%09rows",
    "a delete": "protected-route/%7F",
    "a control character of Latin 1": "protected-route/%C2%85",
    "text that turns around": "protected-route/%E2%80%AE",
    "a lone surrogate": "protected-route/%ED%A0%80",
    "no UTF-8": "protected-route/%FF",
    "dots with a parameter": "protected-route/..;/auth/login",
    "dots with a parameter that has a value": "protected-route/..;x=1/auth/login",
    "dots with an encoded parameter": "protected-route/..%3B/auth/login",
    "encoded dots with a parameter": "protected-route/%2e%2e;/auth/login",
    "dots with a parameter at the end": "protected-route/..;",
    "one dot with a parameter": "protected-route/.;/rows/1",
    "a segment that is nothing but a parameter": "protected-route/;x=1/rows/1",
    "dots in too many bytes": "protected-route/%C0%AE%C0%AE/auth",
    "a percent sign": "protected-route/%25",
    "a neighbour": "protected-routes",
    "a neighbour with a dash": "protected-route-of-others",
    "a parameter": "protected-route;x=1",
    "capitals": "Protected-Route",
    "the API's sign-in": "auth/login",
    "the API's refresh": "auth/refresh",
    "nothing": "",
}

#: Rules, a call, and the outcome: the status and the Allow header.
RULES: dict[str, tuple[str, str, str, int, str]] = {
    "by default the path itself": ("GET /protected-route", "GET", "protected-route", 200, ""),
    "by default what is below it": ("GET /protected-route", "GET", "protected-route/rows/1", 200, ""),
    "by default no other method": ("GET /protected-route", "POST", "protected-route", 405, "GET, HEAD"),
    "where GET is, HEAD is": ("GET /protected-route", "HEAD", "protected-route", 200, ""),
    "where only POST is, HEAD is not": ("POST /protected-route", "HEAD", "protected-route", 405, "POST"),
    "where only POST is, GET is not": ("POST /protected-route", "GET", "protected-route", 405, "POST"),
    "a list": ("GET /a, POST /protected-route", "POST", "protected-route", 200, ""),
    "a list over lines": ("GET /a,\n  POST /protected-route,", "POST", "protected-route", 200, ""),
    "another path": ("GET /a, POST /protected-route", "GET", "b", 404, ""),
    "methods of another path": ("GET /a, POST /protected-route", "GET", "protected-route", 405, "POST"),
    "half a segment": ("GET /protected", "GET", "protected-route", 404, ""),
    "a path above": ("GET /protected-route/rows", "GET", "protected-route", 404, ""),
    "a path beside": ("GET /protected-route/rows", "GET", "protected-route/rowsandmore", 404, ""),
    "a path within": ("GET /protected-route/rows", "GET", "protected-route/rows/1", 200, ""),
    "a slash at the end asks for more": ("GET /protected-route/", "GET", "protected-route", 404, ""),
    "a slash at the end, and more": ("GET /protected-route/", "GET", "protected-route/rows/1", 200, ""),
    "everything": ("GET /", "GET", "protected-route/rows/1", 200, ""),
    "nothing": ("", "GET", "protected-route", 404, ""),
    "methods from several rules": (
        "GET /protected-route, PUT /, DELETE /protected-route/rows",
        "PATCH",
        "protected-route/rows/1",
        405,
        "GET, PUT, DELETE, HEAD",
    ),
}
UNREADABLE = [
    "protected-route",
    "/protected-route",
    "GET",
    "GET protected-route",
    "get /protected-route",
    "GET /a POST /b",
    "GET /a/../b",
    "GET //a",
    "GET /a%2Fb",
    "GET /a\\b",
    "* /a",
    "GET https://evil.example/a",
]


class TestWhatMayBeCalled:
    @pytest.mark.parametrize(("rules", "method", "path", "status", "allow"), RULES.values(), ids=RULES)
    def test_the_setting_decides(
        self,
        signed_in: Browser,
        api: DemoApi,
        settings: Settings,
        rules: str,
        method: str,
        path: str,
        status: int,
        allow: str,
    ) -> None:
        settings.API_PROXY_ALLOW = rules
        api.fail(method, "/", Fault.answer(200, b"{}"), times=None)
        api.forget_calls()

        response = call_proxy(signed_in, f"/protected/api/{path}", method=method)

        assert response.status_code == status
        assert len(api.calls) == (status == 200)
        assert response.get("Allow", "") == allow
        if status != 200 and method != "HEAD":
            assert list(body_of(response)) == ["detail"]

    @pytest.mark.parametrize("rules", UNREADABLE)
    def test_an_invalid_setting_fails_a_system_check(self, settings: Settings, rules: str) -> None:
        settings.API_PROXY_ALLOW = rules

        (error,) = [error for error in run_checks() if error.id == "protected.E001"]

        assert repr(rules) in error.msg
        assert error.hint

    def test_a_setting_of_several_rules_can_be_read(self) -> None:
        assert parse_rules("GET /a , POST /b/c,") == (Rule("GET", "/a"), Rule("POST", "/b/c"))

    @pytest.mark.parametrize("rest", EVASIONS.values(), ids=EVASIONS)
    def test_an_ambiguous_address_is_a_404(self, signed_in: Browser, api: DemoApi, rest: str) -> None:
        api.forget_calls()

        response = call_proxy(signed_in, f"/protected/api/{rest}", RAW_URI=f"/protected/api/{rest}")

        assert response.status_code == 404
        assert api.calls == []

    @pytest.mark.parametrize("name", ["RAW_URI", "REQUEST_URI"])
    def test_an_encoded_slash_in_the_query_is_no_slash_in_the_path(
        self, signed_in: Browser, api: DemoApi, name: str
    ) -> None:
        path = f"{PROXY}?next=%2Fa%2Fb"
        as_sent: dict[str, Any] = {name: path}

        assert call_proxy(signed_in, path, **as_sent).status_code == 200

    @pytest.mark.parametrize("path", ["/", "/a", "/a/", "/a/b.c", "/a/..b", "/a b", "/ü", "/~a", "/a:b@c"])
    def test_an_unambiguous_path_is_not_evasive(self, path: str) -> None:
        assert not is_evasive(path)

    @pytest.mark.parametrize("protocol", ["websocket", "WebSocket", "h2c"])
    def test_an_upgrade_is_refused_with_a_reason(self, signed_in: Browser, api: DemoApi, protocol: str) -> None:
        api.forget_calls()

        response = call_proxy(signed_in, PROXY, HTTP_CONNECTION="Upgrade", HTTP_UPGRADE=protocol)

        assert response.status_code == 501
        assert "WebSocket" in body_of(response)["detail"]
        assert api.calls == []

    def test_a_body_of_unknown_length_is_refused_with_a_reason(
        self, signed_in: Browser, api: DemoApi, settings: Settings
    ) -> None:
        settings.API_PROXY_ALLOW = EVERYTHING
        api.forget_calls()

        response = call_proxy(signed_in, PROXY, method="POST", HTTP_TRANSFER_ENCODING="chunked")

        assert response.status_code == 411
        assert "Content-Length" in body_of(response)["detail"]
        assert api.calls == []


class TestForgedCalls:
    @pytest.mark.parametrize(
        ("method", "kind", "body"),
        [
            *(pytest.param("POST", *form, id=f"POST {name}") for name, form in FORMS.items()),
            *(pytest.param(method, *FORMS["JSON"], id=method) for method in ("PUT", "PATCH", "DELETE")),
        ],
    )
    def test_another_site_cannot_make_the_browser_call(
        self, signed_in: Browser, api: DemoApi, settings: Settings, method: str, kind: str, body: bytes
    ) -> None:
        settings.API_PROXY_ALLOW = EVERYTHING
        strict = Browser({**signed_in.take(), "csrftoken": "c" * 32}, csrf_checks=True)
        api.forget_calls()

        forged: list[dict[str, Any]] = [
            {},
            {"HTTP_X_CSRFTOKEN": "d" * 32},
            {"HTTP_X_CSRFTOKEN": "c" * 32, "HTTP_ORIGIN": "https://evil.example"},
        ]
        for headers in forged:
            response = call_proxy(strict, PROXY, method=method, body=body, content_type=kind, **headers)
            assert response.status_code == 403
            assert ("Origin" if "HTTP_ORIGIN" in headers else "X-CSRFToken") in body_of(response)["detail"]
        assert api.calls == []

    def test_another_site_cannot_make_it_call_with_a_large_body(
        self, signed_in: Browser, api: DemoApi, settings: Settings
    ) -> None:
        settings.API_PROXY_ALLOW = EVERYTHING
        strict = Browser({**signed_in.take(), "csrftoken": "c" * 32}, csrf_checks=True)
        api.forget_calls()
        body = b"csrfmiddlewaretoken=" + b"d" * 32 + b"&a=" + b"b" * (1024 * 1024)

        response = call_proxy(strict, PROXY, method="POST", body=body, content_type="application/x-www-form-urlencoded")

        assert response.status_code == 403
        assert api.calls == []

    def test_a_safe_method_needs_no_csrf_token(self, signed_in: Browser) -> None:
        strict = Browser({"session": signed_in.take()["session"]}, csrf_checks=True)

        assert call_proxy(strict, PROXY).status_code == 200


def test_a_method_that_two_rules_allow_is_named_once(signed_in: Browser, settings: Settings) -> None:
    settings.API_PROXY_ALLOW = "GET /protected-route, GET /protected-route/rows"

    assert signed_in.client.delete("/protected/api/protected-route/rows/1")["Allow"] == "GET, HEAD"
