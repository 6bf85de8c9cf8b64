"""Requests that make no sense: each gets a clear 4xx in JSON, and none a traceback."""

from collections.abc import Iterator

import jwt
import pytest
import requests

from tests.demo_api.server import DemoApi
from tests.demo_api.wire import bearer, get, refresh, send_raw, sign_in


@pytest.fixture
def api() -> Iterator[DemoApi]:
    with DemoApi() as api:
        yield api


DAMAGED_BODIES = {
    "empty": b"",
    "no JSON": b"email=ada",
    "cut off": b'{"email": "ada@exam',
    "a list": b"[]",
    "null": b"null",
    "no fields": b"{}",
    "numbers": b'{"email": 1, "password": 2, "accessToken": 3, "refreshToken": 4}',
    "nulls": b'{"email": null, "password": null, "accessToken": null, "refreshToken": null}',
    "objects": b'{"email": {}, "password": [], "accessToken": {}, "refreshToken": [[]]}',
    "not UTF-8": b'{"email": "\xff"}',
    "another encoding": '{"email": "a"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"email": "a"}',
    "NaN": b'{"email": NaN}',
    "a very long number": b"1" * 6000,
    "nested without end": b"[" * 60_000,
}


class TestDamage:
    @pytest.mark.parametrize("body", DAMAGED_BODIES.values(), ids=DAMAGED_BODIES)
    @pytest.mark.parametrize("path", ["/auth/login", "/auth/refresh", "/auth/logout"])
    def test_a_malformed_body_gets_a_clear_400(self, api: DemoApi, path: str, body: bytes) -> None:
        answer = requests.post(api.url + path, data=body)

        assert (answer.status_code, list(answer.json())) == (400, ["message"])

    @pytest.mark.parametrize("body", [b"", b"{", b"NaN", b"\xff", b"[" * 60_000])
    def test_only_json_is_echoed(self, api: DemoApi, body: bytes) -> None:
        answer = requests.post(f"{api.url}/protected-route", data=body, headers=bearer(sign_in(api)))

        assert answer.status_code == 400

    def test_a_token_with_a_bottomless_header_is_refused(self, api: DemoApi) -> None:
        bottomless = jwt.utils.base64url_encode(b"[" * 40_000).decode() + ".e30.e30"

        assert refresh(api, {"accessToken": bottomless, "refreshToken": "junk"}).status_code == 401
        assert get(api, {"accessToken": bottomless}).status_code == 401

    def test_a_body_of_64_kilobytes_is_read_and_a_longer_one_refused(self, api: DemoApi) -> None:
        def post(length: int) -> requests.Response:
            body = b'"' + b"x" * (length - 2) + b'"'
            return requests.post(f"{api.url}/protected-route", data=body, headers=headers)

        headers = bearer(sign_in(api))
        assert post(65_536).status_code == 201
        assert post(65_537).status_code == 413

    def test_a_client_that_is_still_sending_too_much_gets_to_hear_so(self, api: DemoApi) -> None:
        body = b"x" * 8_000_000

        answer = send_raw(api, b"POST /auth/login HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

        assert answer.startswith(b"HTTP/1.1 413 ")
        assert answer.endswith(b'"}')

    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ("Content-Length: -1", 400),
            ("Content-Length: +5", 400),
            ("Content-Length: five", 400),
            ("Content-Length: ", 400),
            ("Content-Length: 2\r\nContent-Length: 3", 400),
            ("Content-Length: 99999999999999999999999", 413),
            ("Content-Length: " + "9" * 5000, 413),
            ("Content-Length: 50", 400),
            ("Transfer-Encoding: chunked", 411),
            ("Content-Length: 2\r\nTransfer-Encoding: chunked", 411),
            ("X-Long: " + "x" * 70_000, 431),
            ("X: y\r\n" * 200, 431),
        ],
    )
    def test_headers_that_make_no_sense_get_a_clear_4xx(self, api: DemoApi, headers: str, status: int) -> None:
        answer = send_raw(api, f"POST /auth/login HTTP/1.1\r\nHost: api\r\n{headers}\r\n\r\n{{}}".encode())

        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert b"Connection: close" in head
        assert body.startswith(b'{"message": ')

    @pytest.mark.parametrize("line", [b"\x16\x03\x01\x02", b"GET", b"GET / HTTP/9.9", b"GET / FTP", b"BREW / HTTP/1.1"])
    def test_what_is_no_http_gets_json_and_no_traceback(
        self, api: DemoApi, line: bytes, capfd: pytest.CaptureFixture[str]
    ) -> None:
        answer = send_raw(api, line + b"\r\n\r\n")

        assert answer.startswith(b"HTTP/1.1 ")
        assert b'{"message": ' in answer
        assert capfd.readouterr().err == ""

    def test_a_head_request_gets_no_body(self, api: DemoApi) -> None:
        answer = send_raw(api, b"HEAD /protected-route HTTP/1.1\r\nConnection: close\r\n\r\n")

        assert answer.startswith(b"HTTP/1.1 404 ")
        assert answer.endswith(b"\r\n\r\n")
