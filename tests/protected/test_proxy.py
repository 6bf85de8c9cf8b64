"""The API for browser scripts: what passes through, what does not, and what a script is told when nothing can."""

import gzip
import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core.checks import run_checks
from django.db import connections
from django.http import HttpResponse
from pytest_django import Settings

from accounts.models import EndReason, SessionRecord
from accounts.rotation.ending import end_session
from protected.proxy import NOT_FOR, Rule, is_evasive, parse_rules
from tests.browsers import ADA, GRACE, Browser, cookies_set, wait_until
from tests.demo_api.server import Call, DemoApi, Fault, Gate

ROUTE = "/protected-route"
PROXY = f"/protected/api{ROUTE}"
EVERYTHING = "GET /, POST /, PUT /, PATCH /, DELETE /"
TO_SIGN_IN = "/accounts/login/?next="

#: The rest of the address, as a server would have sent it in its request line.
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

#: Rules, a call, and what becomes of it: 200, or a refusal with what the Allow header says.
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

#: Bodies that Django would read as a form, if it were asked to.
FORMS = {
    "multipart": (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--',
    ),
    "multipart with a file": (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="a"; filename="\xff"\r\n\r\n\x00\x01\xff\r\n--x--\r\nrest',
    ),
    "multipart without a boundary": ("multipart/form-data", b"what is this?"),
    "multipart that breaks off": ("multipart/form-data; boundary=x", b"--x\r\nContent-Dis"),
    "multipart with many files": (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\nc\r\n' * 150 + b"--x--\r\n",
    ),
    "urlencoded": ("application/x-www-form-urlencoded", b"b=2&a=1&a=%20+&&=x&%zz"),
    "urlencoded with many fields": ("application/x-www-form-urlencoded", b"a=1&" * 1500 + b"z=1"),
    "urlencoded in Latin 1": ("application/x-www-form-urlencoded; charset=latin-1", b"a=\xe9"),
    "urlencoded, no UTF-8": ("application/x-www-form-urlencoded", b"a=\xff\xfe"),
    "JSON": ("application/json", b'{"a":1,  "a":2}\n'),
    "bytes": ("application/octet-stream", bytes(range(256)) * 8),
    "no type": ("", b"bytes"),
}


def answer(
    browser: Browser,
    path: str,
    method: str = "GET",
    body: bytes = b"",
    content_type: str = "application/json",
    **headers: Any,
) -> HttpResponse:
    """The answer to a script's call, read to its end into `content`. Headers as in WSGI's environment."""
    headers.setdefault("HTTP_ACCEPT", "application/json")
    response: Any = browser.client.generic(method, path, body, content_type, **headers)
    if not response.streaming:
        whole: HttpResponse = response
        return whole
    read = HttpResponse(b"".join(response), status=response.status_code)
    del read["Content-Type"]
    for name, value in response.items():
        read[name] = value
    read.cookies = response.cookies
    response.close()
    return read


def spelled(headers: dict[str, str]) -> dict[str, Any]:
    """As WSGI spells them."""
    return {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}


def only_call(api: DemoApi) -> Call:
    (call,) = [call for call in api.calls if call.path.startswith(ROUTE)]
    return call


def body_of(response: HttpResponse) -> Any:
    return json.loads(response.content)


class TestWhatReachesTheApi:
    def test_a_call_as_the_signed_in_user(self, signed_in: Browser, api: DemoApi) -> None:
        response = answer(signed_in, PROXY)

        assert response.status_code == 200
        assert body_of(response)["data"][0]["station"] == "North Pier"
        assert only_call(api).headers["authorization"] == f"Bearer {signed_in.session().tokens.access}"

    @pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
    def test_the_method_and_the_body(self, signed_in: Browser, api: DemoApi, settings: Settings, method: str) -> None:
        settings.API_PROXY_ALLOW = EVERYTHING
        api.fail(method, ROUTE, Fault.answer(207, b"[]"))

        response = answer(signed_in, f"{PROXY}/a/b", method=method, body=b'{"a": [1.50]}')

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
        assert answer(signed_in, f"{PROXY}?{query}").status_code == 200

        sent = only_call(api).query
        assert sent.replace("%5B", "[").replace("%5D", "]") == query

    def test_a_query_in_raw_utf8_arrives_as_that_text(self, signed_in: Browser, api: DemoApi) -> None:
        """Browsers encode it, other clients do not always; servers hand the bytes on as Latin 1 (PEP 3333)."""
        answer(signed_in, PROXY, QUERY_STRING="a=€".encode().decode("latin-1"))

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
        ],
    )
    def test_the_path_with_the_same_meaning(self, signed_in: Browser, api: DemoApi, path: str, sent: str) -> None:
        answer(signed_in, f"{PROXY}/{path}")

        call = only_call(api)
        assert (call.path, call.query) == (f"{ROUTE}/{sent}", "")

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

        answer(signed_in, PROXY, **spelled(passed))

        sent = only_call(api).headers
        assert {name: sent[name.lower()] for name in passed} == passed

    def test_nothing_else_of_the_browser(self, signed_in: Browser, api: DemoApi) -> None:
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

        answer(signed_in, PROXY, **spelled(kept))

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

        response = answer(strict, PROXY, method="POST", body=body, content_type=kind, HTTP_X_CSRFTOKEN="c" * 32)

        assert response.status_code == 201
        call = only_call(api)
        assert call.body == body
        assert call.headers.get("content-type", "") == kind

    def test_a_length_that_is_no_number_is_no_mistake_of_ours(
        self, signed_in: Browser, api: DemoApi, settings: Settings
    ) -> None:
        settings.API_PROXY_ALLOW = EVERYTHING
        api.forget_calls()

        response = answer(signed_in, PROXY, method="POST", body=b"{}", CONTENT_LENGTH="many")

        assert response.status_code == 400
        assert api.calls == []

    @pytest.mark.parametrize("value", ["a\r\nX-Injected: yes", "a\nb", "a\rb", "a\x00b", "\x7f"], ids=repr)
    def test_a_header_with_control_characters_is_refused(self, signed_in: Browser, api: DemoApi, value: str) -> None:
        api.forget_calls()

        response = answer(signed_in, PROXY, HTTP_PREFER=value)

        assert response.status_code == 400
        assert "Prefer" in body_of(response)["detail"]
        assert api.calls == []

    @pytest.mark.parametrize("value", ["\xa0a", "\x85a", " a", "a\xa0"], ids=repr)
    def test_spaces_around_a_header_are_no_mistake_of_ours(self, signed_in: Browser, api: DemoApi, value: str) -> None:
        assert answer(signed_in, PROXY, HTTP_PREFER=value).status_code == 200

        assert only_call(api).headers["prefer"] == "a"

    def test_without_a_body_none_is_made_up(self, signed_in: Browser, api: DemoApi, settings: Settings) -> None:
        settings.API_PROXY_ALLOW = EVERYTHING
        for method in ("GET", "DELETE", "POST"):
            answer(signed_in, PROXY, method=method, content_type="")

        for call in [call for call in api.calls if call.path == ROUTE]:
            assert call.body == b""
            assert call.headers.get("content-length", "0") == "0"
            assert "transfer-encoding" not in call.headers


class TestWhatReachesTheBrowser:
    def test_the_apis_answer_with_an_allow_list_of_headers(self, signed_in: Browser, api: DemoApi) -> None:
        passed = {
            "Accept-Ranges": "bytes",
            "Content-Disposition": 'attachment; filename="a.csv"',
            "Content-Language": "fr",
            "Content-Type": "text/csv; charset=utf-8",
            "ETag": '"tide"',
            "Expires": "Mon, 23 Nov 2026 00:00:00 GMT",
            "Last-Modified": "Mon, 23 Nov 2026 00:00:00 GMT",
            "Link": '</a>; rel="next"',
            "Retry-After": "7",
        }
        kept = {
            "Set-Cookie": "session=theirs; Path=/",
            "Server": "pier/1.0",
            "X-Powered-By": "the tide",
            "Strict-Transport-Security": "max-age=1",
            "Content-Security-Policy": "default-src *",
            "Access-Control-Allow-Origin": "*",
            "WWW-Authenticate": "Bearer",
            "Location": "https://evil.example/",
            "Keep-Alive": "timeout=9",
            "Clear-Site-Data": '"cookies"',
        }
        api.fail("GET", ROUTE, Fault.answer(200, b"a,b\r\n", headers=passed | kept))
        before = signed_in.take()

        response = answer(signed_in, PROXY)

        assert response.content == b"a,b\r\n"
        assert {name: response[name] for name in passed} == passed
        assert response["Content-Length"] == "5"
        for name, value in kept.items():
            assert response.get(name) != value, name
        assert not response.cookies
        assert signed_in.take() == before

    def test_a_cookie_of_the_apis_stays_out_also_where_ours_is_written(self, signed_in: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        api.fail("GET", ROUTE, Fault.delay(0))
        api.fail("GET", ROUTE, Fault.answer(200, b"{}", headers={"Set-Cookie": "session=theirs; Path=/"}))

        response = answer(signed_in, PROXY)

        assert response.status_code == 200
        assert list(response.cookies) == ["session"]
        assert response.cookies["session"].value != "theirs"
        assert signed_in.session().generation == 1

    @pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 400, 403, 404, 409, 410, 418, 422, 429, 500, 502, 503])
    def test_status_and_body_are_the_apis_own(self, signed_in: Browser, api: DemoApi, status: int) -> None:
        body = b"" if status == 204 else b'{"message": "the tide is out"}'
        api.fail("GET", ROUTE, Fault.answer(status, body))
        api.forget_calls()

        response = answer(signed_in, PROXY)

        assert (response.status_code, response.content) == (status, body)
        assert len(api.calls) == 1
        assert not cookies_set(response)
        assert signed_in.is_signed_in()

    @pytest.mark.parametrize("status", [600, 777, 999])
    def test_a_status_beyond_https_is_no_answer(self, signed_in: Browser, api: DemoApi, status: int) -> None:
        api.fail("GET", ROUTE, Fault.answer(status, b"{}"))

        assert answer(signed_in, PROXY).status_code == 503
        assert signed_in.is_signed_in()

    @pytest.mark.parametrize(
        ("value", "passed"),
        [
            ("a\r\n b", "a b"),
            ("a\x00b", "a b"),
            ("a\x0bb\x1fc", "a b c"),
            ("a\x7fb", "a b"),
            ("a\tb", "a\tb"),
            ("\xe9", "\xe9"),
        ],
        ids=["folded", "a NUL", "controls", "a delete", "a tab", "Latin 1"],
    )
    def test_no_header_has_what_no_header_may_have(
        self, signed_in: Browser, api: DemoApi, value: str, passed: str
    ) -> None:
        api.fail("GET", ROUTE, Fault.answer(200, b"{}", headers={"Link": value}))

        assert re.sub(" +", " ", answer(signed_in, PROXY)["Link"]) == passed

    @pytest.mark.parametrize(
        ("status", "body", "length"), [(200, b"{}", "2, 2"), (204, b"", "0")], ids=["twice", "of a 204"]
    )
    def test_a_length_that_says_nothing_is_not_passed_on(
        self, signed_in: Browser, api: DemoApi, status: int, body: bytes, length: str
    ) -> None:
        api.fail("GET", ROUTE, Fault.answer(status, body, headers={"Content-Length": length}))

        response = answer(signed_in, PROXY)

        assert (response.status_code, response.content) == (status, body)
        assert "Content-Length" not in response

    def test_an_etag_saves_the_body(self, signed_in: Browser, api: DemoApi) -> None:
        api.fail("GET", ROUTE, Fault.answer(200, b"{}", headers={"ETag": 'W/"7"', "Vary": "Accept-Encoding"}))
        first = answer(signed_in, PROXY)
        api.fail("GET", ROUTE, Fault.answer(304, headers={"ETag": 'W/"7"', "Vary": "Accept-Encoding"}))

        second = answer(signed_in, PROXY, HTTP_IF_NONE_MATCH=first["ETag"])

        assert api.calls[-1].headers["if-none-match"] == 'W/"7"'
        assert (second.status_code, second.content, second["ETag"]) == (304, b"", 'W/"7"')
        assert {name.strip() for name in second["Vary"].split(",")} == {"Accept-Encoding", "Cookie"}

    def test_an_encoded_body_passes_as_it_is(self, signed_in: Browser, api: DemoApi) -> None:
        packed = gzip.compress(b'{"data": "tide"}')
        headers = {"Content-Encoding": "gzip", "ETag": '"packed"'}
        api.fail("GET", ROUTE, Fault.answer(200, packed, headers=headers))

        response = answer(signed_in, PROXY, HTTP_ACCEPT_ENCODING="gzip")

        assert response.content == packed
        assert (response["Content-Encoding"], response["ETag"]) == ("gzip", '"packed"')
        assert response["Content-Length"] == str(len(packed))
        assert only_call(api).headers["accept-encoding"] == "gzip"

    def test_a_browser_that_accepts_no_encoding_gets_none(self, signed_in: Browser, api: DemoApi) -> None:
        answer(signed_in, PROXY)

        assert only_call(api).headers["accept-encoding"] == "identity"

    def test_no_cache_that_others_share_keeps_it(self, signed_in: Browser, api: DemoApi) -> None:
        api.fail("GET", ROUTE, Fault.answer(200, b"{}", headers={"Cache-Control": "public, s-maxage=60, max-age=60"}))

        response = answer(signed_in, PROXY)

        words = {word.strip() for word in response["Cache-Control"].split(",")}
        assert "private" in words
        assert "public" not in words
        assert "max-age=60" in words
        assert "Cookie" in response["Vary"]

    def test_a_script_in_the_apis_answer_is_no_script_of_ours(self, signed_in: Browser, api: DemoApi) -> None:
        api.fail("GET", ROUTE, Fault.answer(200, b"<script>alert(1)</script>", "text/html"))

        response = answer(signed_in, PROXY)

        assert response["Content-Security-Policy"] == "sandbox; default-src 'none'"
        assert response["X-Content-Type-Options"] == "nosniff"

    @pytest.mark.parametrize("purpose", NOT_FOR)
    def test_an_answer_is_no_code_of_a_page(self, signed_in: Browser, api: DemoApi, purpose: str) -> None:
        api.forget_calls()

        response = answer(signed_in, PROXY, HTTP_SEC_FETCH_DEST=purpose, HTTP_SEC_FETCH_SITE="same-origin")

        assert response.status_code == 403
        assert "no part of a page's code" in body_of(response)["detail"]
        assert api.calls == []

    @pytest.mark.parametrize("purpose", ["empty", "document", "image", "video", "audio", "font", "track", "report"])
    def test_it_may_be_anything_else(self, signed_in: Browser, purpose: str) -> None:
        assert answer(signed_in, PROXY, HTTP_SEC_FETCH_DEST=purpose).status_code == 200

    def test_an_answer_to_head_has_no_body(self, signed_in: Browser, api: DemoApi) -> None:
        api.fail("HEAD", ROUTE, Fault.answer(200, headers={"ETag": '"7"', "Content-Length": "99"}))

        response = answer(signed_in, PROXY, method="HEAD")

        assert (response.status_code, response["ETag"], response.content) == (200, '"7"', b"")
        assert only_call(api).method == "HEAD"


class TestWhatMayBeCalled:
    @pytest.mark.parametrize(("rules", "method", "path", "status", "allow"), RULES.values(), ids=RULES)
    def test_what_the_setting_lists(
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

        response = answer(signed_in, f"/protected/api/{path}", method=method)

        assert response.status_code == status
        assert len(api.calls) == (status == 200)
        assert response.get("Allow", "") == allow
        if status != 200 and method != "HEAD":
            assert list(body_of(response)) == ["detail"]

    @pytest.mark.parametrize("rules", UNREADABLE)
    def test_a_setting_that_cannot_be_read_is_named_before_the_start(self, settings: Settings, rules: str) -> None:
        settings.API_PROXY_ALLOW = rules

        (error,) = [error for error in run_checks() if error.id == "protected.E001"]

        assert repr(rules) in error.msg
        assert error.hint

    def test_a_setting_of_several_rules_can_be_read(self) -> None:
        assert parse_rules("GET /a , POST /b/c,") == (Rule("GET", "/a"), Rule("POST", "/b/c"))

    @pytest.mark.parametrize("rest", EVASIONS.values(), ids=EVASIONS)
    def test_an_address_that_could_mean_another_is_nowhere(self, signed_in: Browser, api: DemoApi, rest: str) -> None:
        api.forget_calls()

        response = answer(signed_in, f"/protected/api/{rest}", RAW_URI=f"/protected/api/{rest}")

        assert response.status_code == 404
        assert api.calls == []

    @pytest.mark.parametrize("name", ["RAW_URI", "REQUEST_URI"])
    def test_an_encoded_slash_in_the_query_is_no_slash_in_the_path(
        self, signed_in: Browser, api: DemoApi, name: str
    ) -> None:
        path = f"{PROXY}?next=%2Fa%2Fb"
        as_sent: dict[str, Any] = {name: path}

        assert answer(signed_in, path, **as_sent).status_code == 200

    @pytest.mark.parametrize("path", ["/", "/a", "/a/", "/a/b.c", "/a/..b", "/a b", "/ü", "/~a", "/a:b@c"])
    def test_what_means_itself_is_not_evasive(self, path: str) -> None:
        assert not is_evasive(path)

    @pytest.mark.parametrize("protocol", ["websocket", "WebSocket", "h2c"])
    def test_an_upgrade_is_refused_with_words(self, signed_in: Browser, api: DemoApi, protocol: str) -> None:
        api.forget_calls()

        response = answer(signed_in, PROXY, HTTP_CONNECTION="Upgrade", HTTP_UPGRADE=protocol)

        assert response.status_code == 501
        assert "WebSocket" in body_of(response)["detail"]
        assert api.calls == []

    def test_a_body_of_unknown_length_is_refused_with_words(
        self, signed_in: Browser, api: DemoApi, settings: Settings
    ) -> None:
        settings.API_PROXY_ALLOW = EVERYTHING
        api.forget_calls()

        response = answer(signed_in, PROXY, method="POST", HTTP_TRANSFER_ENCODING="chunked")

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
            response = answer(strict, PROXY, method=method, body=body, content_type=kind, **headers)
            assert response.status_code == 403
            assert "X-CSRFToken" in body_of(response)["detail"]
        assert api.calls == []

    def test_nor_with_a_large_body(self, signed_in: Browser, api: DemoApi, settings: Settings) -> None:
        settings.API_PROXY_ALLOW = EVERYTHING
        strict = Browser({**signed_in.take(), "csrftoken": "c" * 32}, csrf_checks=True)
        api.forget_calls()
        body = b"csrfmiddlewaretoken=" + b"d" * 32 + b"&a=" + b"b" * (1024 * 1024)

        response = answer(strict, PROXY, method="POST", body=body, content_type="application/x-www-form-urlencoded")

        assert response.status_code == 403
        assert api.calls == []

    def test_a_call_that_changes_nothing_needs_no_token(self, signed_in: Browser) -> None:
        strict = Browser({"session": signed_in.take()["session"]}, csrf_checks=True)

        assert answer(strict, PROXY).status_code == 200


class TestAnExpiredToken:
    def test_is_renewed_and_the_call_repeated(self, signed_in: Browser, api: DemoApi, settings: Settings) -> None:
        settings.API_PROXY_ALLOW = EVERYTHING
        api.expire_access_tokens()
        api.forget_calls()
        body = b'{"level": 2.310}'

        response = answer(signed_in, f"{PROXY}?a=1", method="POST", body=body, HTTP_IDEMPOTENCY_KEY="7")

        assert (response.status_code, response.content) == (201, b'{"data": {"level": 2.310}}')
        first, refresh, second = api.calls
        assert [(call.path, call.status) for call in (first, refresh, second)] == [
            (ROUTE, 401),
            ("/auth/refresh", 200),
            (ROUTE, 201),
        ]
        assert first.body == second.body == body
        assert first.query == second.query == "a=1"
        assert first.headers["idempotency-key"] == second.headers["idempotency-key"] == "7"
        assert first.headers["authorization"] != second.headers["authorization"]
        assert cookies_set(response)["session"].value
        assert response["Cache-Control"] == "private, no-store"
        assert signed_in.session().generation == 1

    def test_five_calls_at_once_share_one_refresh(self, signed_in: Browser, api: DemoApi) -> None:
        tabs = [signed_in.copy() for _ in range(5)]
        api.expire_access_tokens()

        def call(tab: Browser) -> int:
            try:
                return answer(tab, PROXY).status_code
            finally:
                connections.close_all()

        with Gate() as gate, ThreadPoolExecutor(len(tabs)) as pool:
            api.fail("POST", "/auth/refresh", Fault.hold_before(gate))
            answers = [pool.submit(call, tab) for tab in tabs]
            wait_until(lambda: api.count("GET", ROUTE, 401) == len(tabs))
            gate.release()
            assert [each.result() for each in answers] == [200] * 5

        assert api.count("POST", "/auth/refresh") == 1
        assert {tab.session().generation for tab in tabs} == {1}
        assert api.reuses == 0

    def test_a_401_that_is_the_apis_contradiction_is_no_sign_out(self, signed_in: Browser, api: DemoApi) -> None:
        api.fail("GET", ROUTE, Fault.answer(401, {"message": "no"}), times=3)
        api.expire_access_tokens()
        response = answer(signed_in, PROXY)

        assert response.status_code == 502
        api.heal()
        assert signed_in.is_signed_in()


class TestWithoutAnAnswer:
    @pytest.mark.parametrize(
        "fault", [Fault.delay(5), Fault.reset(), Fault.lose_answer()], ids=["a timeout", "a reset", "a lost answer"]
    )
    def test_it_is_a_503_and_the_session_stays(
        self, signed_in: Browser, api: DemoApi, settings: Settings, fault: Fault
    ) -> None:
        settings.API_READ_TIMEOUT = 0.3
        api.fail("GET", ROUTE, fault, times=2)
        before = signed_in.take()

        response = answer(signed_in, PROXY)

        assert (response.status_code, response["Retry-After"]) == (503, "5")
        assert list(body_of(response)) == ["detail"]
        assert signed_in.take() == before
        api.heal()
        settings.API_READ_TIMEOUT = 10
        assert signed_in.is_signed_in()

    def test_a_call_that_changes_something_is_not_sent_twice(
        self, signed_in: Browser, api: DemoApi, settings: Settings
    ) -> None:
        settings.API_PROXY_ALLOW = EVERYTHING
        api.fail("POST", ROUTE, Fault.lose_answer(), times=None)
        api.forget_calls()

        assert answer(signed_in, PROXY, method="POST", body=b"{}").status_code == 503

        assert len(api.calls) == 1

    def test_an_api_that_is_not_there(self, signed_in: Browser, api: DemoApi) -> None:
        api.stop_serving()

        script = answer(signed_in, PROXY)
        htmx = answer(signed_in, PROXY, HTTP_ACCEPT="*/*", HTTP_HX_REQUEST="true")
        person = answer(signed_in, PROXY, HTTP_ACCEPT="text/html")

        assert {each.status_code for each in (script, htmx, person)} == {503}
        assert all(int(each["Retry-After"]) > 0 for each in (script, htmx, person))
        assert list(body_of(script)) == ["detail"]
        assert list(body_of(htmx)) == ["detail"]
        assert "you are still signed in" in person.content.decode()
        api.start_serving()
        assert signed_in.is_signed_in()

    def test_a_refresh_without_an_answer(self, signed_in: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        api.fail("POST", "/auth/refresh", Fault.answer(503, headers={"Retry-After": "17"}))

        response = answer(signed_in, PROXY)

        assert (response.status_code, response["Retry-After"]) == (503, "17")
        assert not cookies_set(response)

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_a_redirect_is_not_followed_and_not_passed_on(self, signed_in: Browser, api: DemoApi, status: int) -> None:
        api.fail("GET", ROUTE, Fault.answer(status, headers={"Location": f"{api.url}/protected-route/rows/1"}))
        api.forget_calls()

        response = answer(signed_in, PROXY)

        assert response.status_code == 502
        assert list(body_of(response)) == ["detail"]
        assert "Location" not in response
        assert len(api.calls) == 1
        assert signed_in.is_signed_in()


class TestWithoutASession:
    def test_a_script_is_told_where_to_sign_in(self, browser: Browser, api: DemoApi) -> None:
        scripts: list[dict[str, Any]] = [
            {"HTTP_ACCEPT": "application/json"},
            {"HTTP_ACCEPT": "*/*", "HTTP_SEC_FETCH_MODE": "cors"},
        ]
        for headers in scripts:
            response = answer(browser, PROXY, HTTP_REFERER="http://testserver/protected/script/?a=1", **headers)

            assert response.status_code == 401
            assert body_of(response) == {
                "detail": "You are not signed in.",
                "login": f"{TO_SIGN_IN}%2Fprotected%2Fscript%2F%3Fa%3D1",
            }
        assert api.calls == []

    def test_htmx_is_sent_there(self, browser: Browser) -> None:
        response = answer(
            browser,
            PROXY,
            HTTP_ACCEPT="*/*",
            HTTP_HX_REQUEST="true",
            HTTP_HX_CURRENT_URL="http://testserver/protected/script/",
        )

        assert response.status_code == 401
        assert response["HX-Redirect"] == f"{TO_SIGN_IN}%2Fprotected%2Fscript%2F"

    def test_a_person_is_sent_there(self, browser: Browser) -> None:
        response = answer(browser, PROXY, HTTP_ACCEPT="text/html", HTTP_SEC_FETCH_MODE="navigate")

        assert response.status_code == 302
        assert response["Location"] == f"{TO_SIGN_IN}%2Fprotected%2Fapi%2Fprotected-route"

    def test_no_other_site_is_a_place_to_return_to(self, browser: Browser) -> None:
        response = answer(browser, PROXY, HTTP_REFERER="https://evil.example/protected/")

        assert body_of(response)["login"] == f"{TO_SIGN_IN}%2F"

    def test_one_whose_session_has_ended_is_told_so(self, signed_in: Browser, api: DemoApi) -> None:
        api.revoke_all()
        htmx, person = signed_in.copy(), signed_in.copy()

        response = answer(signed_in, PROXY)

        assert response.status_code == 401
        assert body_of(response)["detail"] == "Your session has ended."
        assert body_of(response)["login"].endswith("&ended=1")
        assert cookies_set(response)["session"]["max-age"] == 0
        told = answer(htmx, PROXY, HTTP_ACCEPT="*/*", HTTP_HX_REQUEST="true")
        assert told["HX-Redirect"].endswith("&ended=1")
        told = answer(person, PROXY, HTTP_ACCEPT="text/html")
        assert (told.status_code, told["Location"][-8:]) == (302, "&ended=1")

    def test_one_that_staff_ended_is_over_at_its_next_rotation(self, signed_in: Browser, api: DemoApi) -> None:
        end_session(SessionRecord.objects.get().id, EndReason.REVOKED)
        api.expire_access_tokens()

        assert answer(signed_in, PROXY).status_code == 401

    def test_a_post_is_told_too(self, browser: Browser, api: DemoApi, settings: Settings) -> None:
        settings.API_PROXY_ALLOW = EVERYTHING

        response = answer(browser, PROXY, method="POST", body=b"{}")

        assert response.status_code == 401
        assert set(body_of(response)) == {"detail", "login"}


def test_users_do_not_become_each_other(signed_in: Browser, api: DemoApi) -> None:
    grace = Browser()
    grace.sign_in(GRACE)
    api.forget_calls()

    for _ in range(3):
        assert answer(signed_in, PROXY).status_code == 200
        assert answer(grace, PROXY).status_code == 200

    bearers = [call.headers["authorization"] for call in api.calls]
    assert bearers == [f"Bearer {each.session().tokens.access}" for each in (signed_in, grace)] * 3
    assert ADA in signed_in.open_page().text


def test_a_method_that_two_rules_allow_is_named_once(signed_in: Browser, settings: Settings) -> None:
    settings.API_PROXY_ALLOW = "GET /protected-route, GET /protected-route/rows"

    assert signed_in.client.delete("/protected/api/protected-route/rows/1")["Allow"] == "GET, HEAD"
