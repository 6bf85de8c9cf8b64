"""The proxy for browser scripts: what reaches the API."""

from io import BytesIO
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import AsyncClient
from pytest_django import Settings
from requests.utils import unquote_unreserved

from protected.proxy import MAX_REPEATED_BODY_BYTES
from tests.browsers import Browser
from tests.demo_api.server import DemoApi, Fault
from tests.protected.proxy_calls import EVERYTHING, FORMS, PROXY, ROUTE, body_of, call_proxy, only_call, wsgi_headers


class AsgiServer(AsyncClient):
    """Adds `raw_path` to the scope, as servers do."""

    raw_path = ""

    def _base_scope(self, **request: Any) -> Any:
        scope = super()._base_scope(**request)  # type: ignore[misc]
        return {**scope, "raw_path": self.raw_path.encode()}


class TestWhatReachesTheApi:
    def test_a_call_as_the_signed_in_user(self, signed_in: Browser, api: DemoApi) -> None:
        response = call_proxy(signed_in, PROXY)

        assert response.status_code == 200
        assert body_of(response)["data"][0]["station"] == "North Pier"
        assert only_call(api).headers["authorization"] == f"Bearer {signed_in.session().tokens.access}"

    @pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
    def test_the_method_and_the_body(self, signed_in: Browser, api: DemoApi, settings: Settings, method: str) -> None:
        settings.API_PROXY_ALLOW = EVERYTHING
        api.fail(method, ROUTE, Fault.answer(207, b"[]"))

        response = call_proxy(signed_in, f"{PROXY}/a/b", method=method, body=b'{"a": [1.50]}')

        call = only_call(api)
        assert response.status_code == 207
        assert (call.method, call.path, call.body) == (method, f"{ROUTE}/a/b", b'{"a": [1.50]}')
        assert call.headers["content-length"] == "13"
        assert call.headers["content-type"] == "application/json"

    @pytest.mark.parametrize(
        "query",
        [
            "a=1",
            "a=1&a=2&b=&a=3",
            "a",
            "a=%26%3D%23%2B%20",
            "a=b+c",
            "path=%2F..%2F&url=https%3A%2F%2Fevil.example%2F",
            "a=%E2%82%AC",
            "a=%FF",
            "filter[a]=1&b[]=2",
            "a=?b=/c/../d",
            "$top=1;b=2",
            "=&&=",
        ],
    )
    def test_the_query_as_it_was(self, signed_in: Browser, api: DemoApi, query: str) -> None:
        assert call_proxy(signed_in, f"{PROXY}?{query}").status_code == 200

        sent = only_call(api).query
        assert sent.replace("%5B", "[").replace("%5D", "]") == query

    def test_a_query_in_raw_utf8_arrives_as_that_text(self, signed_in: Browser, api: DemoApi) -> None:
        """Browsers encode it, other clients do not always; servers hand the bytes on as Latin 1 (PEP 3333)."""
        call_proxy(signed_in, PROXY, QUERY_STRING="a=€".encode().decode("latin-1"))

        assert only_call(api).query == "a=%E2%82%AC"

    @pytest.mark.parametrize(
        ("path", "sent"),
        [
            ("a b", "a%20b"),
            ("a%20b", "a%20b"),
            ("%C3%A9", "%C3%A9"),
            ("a.b..c", "a.b..c"),
            ("...", "..."),
            ("%61", "a"),
            ("a%3Fb", "a%3Fb"),
            ("a%23b", "a%23b"),
            ("rows/1/", "rows/1/"),
            ("places:searchText", "places:searchText"),
            (":@()+=;,!$'*&/b", ":@()+=;,!$'*&/b"),
            ("places%3AsearchText", "places:searchText"),
            ("a[b]|c", "a%5Bb%5D%7Cc"),
        ],
    )
    def test_the_path_with_the_same_meaning(self, signed_in: Browser, api: DemoApi, path: str, sent: str) -> None:
        call_proxy(signed_in, f"{PROXY}/{path}")

        call = only_call(api)
        assert (call.path, call.query) == (f"{ROUTE}/{sent}", "")

    @pytest.mark.parametrize("name", ["RAW_URI", "REQUEST_URI"])
    @pytest.mark.parametrize("origin", ["", "http://testserver", "/mounted"])
    @pytest.mark.parametrize(
        "path", ["a:b/c%3Ad", ":@()+=;,!$'*&", "%40%20%2B%3B%C3%A9@", "a%3Fb%23c", "a%5Bb%5D", "rows/1/"]
    )
    def test_the_path_as_it_was_sent_if_the_server_tells(
        self, signed_in: Browser, api: DemoApi, name: str, origin: str, path: str
    ) -> None:
        as_sent: dict[str, Any] = {name: f"{origin}{PROXY}/{path}?a=1"}

        call_proxy(signed_in, f"{PROXY}/{path}?a=1", **as_sent)

        call = only_call(api)
        assert (call.path, call.query) == (f"{ROUTE}/{path}", "a=1")

    @pytest.mark.parametrize(
        "raw", ["/protected/api/auth/login", f"{PROXY}/x%3Ab", "/x:b", "?", "x:b/", f"{PROXY}/a:b%FF", f"{PROXY}/a:b/c"]
    )
    def test_the_checked_path_if_the_server_tells_another(self, signed_in: Browser, api: DemoApi, raw: str) -> None:
        call_proxy(signed_in, f"{PROXY}/a:b", RAW_URI=raw)

        assert only_call(api).path == f"{ROUTE}/a:b"

    @pytest.mark.parametrize(("path", "status"), [("a:b%3Ac", 404), ("rows%2F1", 404), ("rows/%31", 200)])
    def test_the_path_as_it_was_sent_over_asgi(self, signed_in: Browser, api: DemoApi, path: str, status: int) -> None:
        client = AsgiServer()
        client.raw_path = f"{PROXY}/{path}"
        client.cookies.load(signed_in.take())
        api.forget_calls()

        response = async_to_sync(client.get)(client.raw_path)

        assert response.status_code == status
        assert [call.path for call in api.calls] == ([] if "%2F" in path else [f"{ROUTE}/{unquote_unreserved(path)}"])

    def test_the_headers_that_an_api_needs(self, signed_in: Browser, api: DemoApi) -> None:
        passed = {
            "Accept": "application/json, text/plain;q=0.5",
            "Accept-Encoding": "br, gzip",
            "Accept-Language": "fr-FR",
            "Content-Encoding": "gzip",
            "Content-Language": "fr",
            "Idempotency-Key": "7",
            "If-Match": '"a"',
            "If-Modified-Since": "Mon, 23 Nov 2026 00:00:00 GMT",
            "If-None-Match": 'W/"b", "c"',
            "If-Range": '"d"',
            "If-Unmodified-Since": "Mon, 23 Nov 2026 00:00:01 GMT",
            "Prefer": "return=minimal",
            "Range": "bytes=0-99",
        }

        call_proxy(signed_in, PROXY, **wsgi_headers(passed))

        sent = only_call(api).headers
        assert {name: sent[name.lower()] for name in passed} == passed

    def test_no_other_header_of_the_browser(self, signed_in: Browser, api: DemoApi) -> None:
        signed_in.put({**signed_in.take(), "csrftoken": "c" * 32, "other": "theirs"})
        kept = {
            "Authorization": "Bearer forged",
            "Proxy-Authorization": "Basic forged",
            "Connection": "keep-alive, X-Custom",
            "Keep-Alive": "timeout=7",
            "TE": "trailers",
            "Trailer": "X-Custom",
            "Origin": "http://testserver",
            "Referer": "http://testserver/protected/script/",
            "Forwarded": "for=1.2.3.4",
            "X-Forwarded-For": "1.2.3.4",
            "X-Forwarded-Host": "evil.example",
            "X-HTTP-Method-Override": "DELETE",
            "X-CSRFToken": "c" * 32,
            "X-Custom": "yes",
            "X-Real-IP": "1.2.3.4",
            "Sec-Fetch-Mode": "cors",
            "User-Agent": "a browser",
            "Via": "1.1 somewhere",
        }
        cookies = signed_in.take()

        call_proxy(signed_in, PROXY, **wsgi_headers(kept))

        sent = only_call(api).headers
        assert "cookie" not in sent
        assert sent["host"] == f"127.0.0.1:{api.port}"
        assert sent["x-forwarded-for"] == "127.0.0.1", "what the connection says, not the browser"
        for name, value in kept.items():
            assert sent.get(name.lower()) != value, name
        for value in cookies.values():
            assert value not in str(sent)

    @pytest.mark.parametrize(("kind", "body"), FORMS.values(), ids=FORMS)
    def test_a_body_byte_for_byte(
        self, signed_in: Browser, api: DemoApi, settings: Settings, kind: str, body: bytes
    ) -> None:
        settings.API_PROXY_ALLOW = EVERYTHING
        api.fail("POST", ROUTE, Fault.answer(201, b"{}"))
        strict = Browser({**signed_in.take(), "csrftoken": "c" * 32}, csrf_checks=True)

        response = call_proxy(strict, PROXY, method="POST", body=body, content_type=kind, HTTP_X_CSRFTOKEN="c" * 32)

        assert response.status_code == 201
        call = only_call(api)
        assert call.body == body
        assert call.headers.get("content-type", "") == kind

    def test_a_length_that_is_not_a_number_is_refused(
        self, signed_in: Browser, api: DemoApi, settings: Settings
    ) -> None:
        settings.API_PROXY_ALLOW = EVERYTHING
        api.forget_calls()

        response = call_proxy(signed_in, PROXY, method="POST", body=b"{}", CONTENT_LENGTH="many")

        assert response.status_code == 400
        assert api.calls == []

    def test_the_log_says_that_the_browser_stopped_in_the_middle(
        self, signed_in: Browser, settings: Settings, caplog: pytest.LogCaptureFixture
    ) -> None:
        settings.API_PROXY_ALLOW = EVERYTHING
        sent: dict[str, Any] = {"CONTENT_LENGTH": str(MAX_REPEATED_BODY_BYTES + 1), "wsgi.input": BytesIO(b"{}")}

        response = call_proxy(signed_in, PROXY, method="POST", body=b"{}", **sent)

        assert response.status_code == 503
        assert "the browser did not send the whole body" in caplog.text

    @pytest.mark.parametrize("value", ["a\r\nX-Injected: yes", "a\nb", "a\rb", "a\x00b", "\x7f"], ids=repr)
    def test_a_header_with_control_characters_is_refused(self, signed_in: Browser, api: DemoApi, value: str) -> None:
        api.forget_calls()

        response = call_proxy(signed_in, PROXY, HTTP_PREFER=value)

        assert response.status_code == 400
        assert "Prefer" in body_of(response)["detail"]
        assert api.calls == []

    @pytest.mark.parametrize("value", ["\xa0a", "\x85a", " a", "a\xa0"], ids=repr)
    def test_spaces_around_a_header_are_removed(self, signed_in: Browser, api: DemoApi, value: str) -> None:
        assert call_proxy(signed_in, PROXY, HTTP_PREFER=value).status_code == 200

        assert only_call(api).headers["prefer"] == "a"

    def test_a_call_without_a_body_stays_without_one(
        self, signed_in: Browser, api: DemoApi, settings: Settings
    ) -> None:
        settings.API_PROXY_ALLOW = EVERYTHING
        for method in ("GET", "DELETE", "POST"):
            call_proxy(signed_in, PROXY, method=method, content_type="")

        for call in [call for call in api.calls if call.path == ROUTE]:
            assert call.body == b""
            assert call.headers.get("content-length", "0") == "0"
            assert "transfer-encoding" not in call.headers
