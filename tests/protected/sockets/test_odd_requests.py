"""Odd request lines, refused requests, and uploads that meet an expired token."""

import http.client
import json
import socket
from contextlib import closing
from dataclasses import dataclass

import pytest

from tests.demo_api.server import DemoApi
from tests.load.browser import Browser
from tests.load.site import Site
from tests.protected.sockets.raw_requests import (
    MEGABYTE,
    PROXY,
    ROUTE,
    head_of,
    send_raw,
)
from tests.protected.sockets.scripted_api import PATIENCE_SECONDS, ApiConnection, ScriptedApi

#: Paths behind /protected/api that no browser puts into a request line.
EVASIONS = [
    "/protected-route/../auth/login",
    "/protected-route/..",
    "/protected-route/./rows/1",
    "/protected-route/%2e%2e/auth/login",
    "/protected-route/%2E./auth/login",
    "/protected-route/%252e%252e/auth/login",
    "/protected-route%2Frows%2F1",
    "/protected-route%2frows/1",
    "/protected-route%252Frows",
    "/protected-route//rows/1",
    "//protected-route",
    "///protected-route",
    "//evil.example/protected-route",
    "/http://evil.example/protected-route",
    "/http:%2F%2Fevil.example/protected-route",
    "/protected-route\\..\\auth\\login",
    "/protected-route%5C..%5Cauth",
    "/protected-route/%00",
    "/protected-route/%0D%0AX-Injected:%20yes",
    "/protected-route/%7F",
    "/protected-route/%FF",
    "/protected-route/%25",
    "/protected-routes",
    "/auth/login",
    "/auth/refresh",
]
#: Bytes that no request line may contain. Gunicorn refuses most of them before Django is called.
CONTROLS = [b"/protected-route/\x00", b"/protected-route/\t..", b"/protected-route/\x7f", b"/protected-route/\rx"]
EXPIRED = b'{"message": "The access token has expired."}'


@dataclass(frozen=True, slots=True)
class Posted:
    """The response to an upload."""

    status: int
    body: bytes


def post(browser: Browser, body: bytes) -> Posted:
    """A script's upload through this site. The browser stores the response's cookies."""
    with socket.create_connection(("127.0.0.1", browser.port), timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(head_of(browser, "POST", PROXY, f"Content-Length: {len(body)}") + body)
        with http.client.HTTPResponse(connection) as response:
            response.begin()
            browser.jar.apply(response.headers.get_all("Set-Cookie") or [])
            return Posted(response.status, response.read())


class TestRequestLines:
    @pytest.mark.parametrize(
        "rest",
        ["/places:searchText", "/places%3AsearchText", "/:@()+=;,!$'*&/b", "/%40%20%2B%3B%C3%A9@", "/a%3Fb%23c:d"],
    )
    def test_a_path_arrives_escaped_as_it_was_sent(self, site: Site, browser: Browser, api: DemoApi, rest: str) -> None:
        send_raw(site, head_of(browser, "GET", f"{PROXY}{rest}?a=1"))

        assert [(call.path, call.query) for call in api.calls] == [(f"{ROUTE}{rest}", "a=1")]

    @pytest.mark.parametrize("rest", EVASIONS)
    def test_an_ambiguous_path_is_a_404(self, site: Site, browser: Browser, api: DemoApi, rest: str) -> None:
        status, _ = send_raw(site, head_of(browser, "GET", f"/protected/api{rest}"))

        assert status == 404
        assert api.calls == []

    @pytest.mark.parametrize("rest", CONTROLS, ids=repr)
    def test_control_characters_are_refused(self, site: Site, browser: Browser, api: DemoApi, rest: bytes) -> None:
        status, _ = send_raw(site, head_of(browser, "GET", "/protected/api@").replace(b"@", rest))

        assert status in (400, 404)
        assert api.calls == []

    @pytest.mark.parametrize("host", ["evil.example", "127.0.0.1:1"])
    def test_an_absolute_url_leads_to_this_site_or_nowhere(
        self, site: Site, browser: Browser, api: DemoApi, host: str
    ) -> None:
        status, _ = send_raw(site, head_of(browser, "GET", f"http://{host}{PROXY}"))

        assert status in (200, 400, 404)
        assert len(api.calls) == (status == 200)

    def test_the_query_is_passed_on_unchanged(self, site: Site, browser: Browser, api: DemoApi) -> None:
        status, _ = send_raw(site, head_of(browser, "GET", f"{PROXY}?a=%2F..%2F&a=%252e&b=//x"))

        assert status == 200
        assert api.calls[-1].query == "a=%2F..%2F&a=%252e&b=//x"


class TestRefused:
    def test_an_upgrade(self, site: Site, browser: Browser, api: DemoApi) -> None:
        upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA=="]

        status, body = send_raw(
            site, head_of(browser, "GET", PROXY, *upgrade).replace(b"Connection: close\r\n", b"", 1)
        )

        assert status == 501
        assert "WebSocket" in json.loads(body)["detail"]
        assert api.calls == []

    def test_a_body_in_chunks(self, site: Site, browser: Browser, api: DemoApi) -> None:
        status, body = send_raw(
            site, head_of(browser, "POST", PROXY, "Transfer-Encoding: chunked") + b"2\r\n{}\r\n0\r\n\r\n"
        )

        assert status == 411
        assert "Content-Length" in json.loads(body)["detail"]
        assert api.calls == []

    def test_a_large_forged_body(self, site: Site, browser: Browser, scripted_api: ScriptedApi) -> None:
        size = 2 * MEGABYTE
        head = head_of(browser, "POST", PROXY, f"Content-Length: {size}").replace(b"X-CSRFToken: ", b"X-CSRFToken: no")
        with scripted_api.scripted(ROUTE, lambda connection: connection.respond(201, b"{}")):
            status, body = send_raw(site, head + b"x" * size)

            assert status == 403
            assert "X-CSRFToken" in json.loads(body)["detail"]
            assert scripted_api.arrivals == []

    def test_a_refusal_leaves_the_connection_usable(self, site: Site, browser: Browser, api: DemoApi) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=PATIENCE_SECONDS)
        headers = {"Cookie": browser.jar.header(), "Accept": "application/json"}
        with closing(connection):
            for method, path, status in [("POST", PROXY, 403), ("POST", f"{PROXY}s", 404), ("GET", PROXY, 200)]:
                connection.request(method, path, b"x" * 5000 if method == "POST" else None, headers)
                with connection.getresponse() as response:
                    response.read()
                    assert response.status == status


class TestUploadWithAnExpiredToken:
    @pytest.mark.parametrize("reads", [True, False], ids=["after the body", "before the body"])
    def test_the_script_sends_it_again_and_then_it_succeeds(
        self, browser: Browser, scripted_api: ScriptedApi, api: DemoApi, reads: bool
    ) -> None:
        body = b"x" * (3 * MEGABYTE)
        received = []

        def refuse(connection: ApiConnection) -> None:
            if reads:
                connection.rfile.read(connection.length)
            connection.respond(401, EXPIRED)

        def accept(connection: ApiConnection) -> None:
            received.append(connection.rfile.read(connection.length))
            connection.respond(201, b"{}")

        api.expire_access_tokens()
        with scripted_api.scripted(ROUTE, refuse):
            first = post(browser, body)
        with scripted_api.scripted(ROUTE, accept):
            second = post(browser, body)

        assert (first.status, second.status) == (401, 201)
        assert received == [body]
        assert api.count("POST", "/auth/refresh", 200) == 1

    def test_the_error_says_to_send_it_again_and_not_to_sign_in(
        self, browser: Browser, scripted_api: ScriptedApi, api: DemoApi
    ) -> None:
        def refuse(connection: ApiConnection) -> None:
            connection.rfile.read(connection.length)
            connection.respond(401, EXPIRED)

        api.expire_access_tokens()
        with scripted_api.scripted(ROUTE, refuse):
            error = json.loads(post(browser, b"x" * (2 * MEGABYTE)).body)

        assert "again" in error["detail"]
        assert "login" not in error
