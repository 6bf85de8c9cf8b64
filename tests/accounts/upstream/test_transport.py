"""HTTP to the API over real sockets: what is sent where, and the pool of connections."""

import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import responses
from django.conf import settings as django_settings
from pytest_django import Settings

from accounts.api_client import ApiClient
from accounts.exceptions import ApiUnavailable
from accounts.upstream.calls import ApiAnswer
from accounts.upstream.transport import AnswerLost, pooled_adapter, prepare
from tests.accounts.upstream.scripted_api import DRIBBLE_SECONDS, PATIENCE_SECONDS, Api, say, whole
from tests.demo_api.server import DemoApi


def _printed_by(program: str) -> str:
    """The output of a program in its own process. It may fork, because it has no threads."""
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=django_settings.BASE_DIR,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout


class TestWhatIsLeftOut:
    """Features of `requests` that would send a user's secrets to another host or user."""

    @pytest.fixture
    def trap(self) -> Iterator[Api]:
        """A server that must receive no request."""
        with Api(say(whole(b"{}"))) as trap:
            yield trap

    @pytest.mark.parametrize("status", ["301", "302", "303", "307", "308"])
    def test_redirects_are_not_followed(self, ask: Callable[..., ApiAnswer], trap: Api, status: str) -> None:
        with Api(say(whole(b"", f"Location: {trap.url}/", status=f"{status} Elsewhere"))) as api:
            answer = ask(api.url)

        assert (answer.status, trap.requests) == (int(status), [])

    def test_pooled_redirects_are_not_followed(self, settings: Settings, trap: Api) -> None:
        with Api(say(whole(b"", f"Location: {trap.url}/", status="302 Elsewhere"))) as api:
            settings.API_BASE_URL = api.url
            answer = pooled_adapter().send(prepare("GET", "/", headers={}), timeout=PATIENCE_SECONDS)

        assert (answer.status_code, trap.requests) == (302, [])

    def test_users_of_the_pool_do_not_share_cookies(self, client: Callable[..., ApiClient]) -> None:
        with Api(say(whole(b"{}", "Set-Cookie: who=ada; Path=/"))) as api:
            client(api.url, "token-of-ada").get("/")
            client(api.url, "token-of-grace").get("/")
            client(api.url, "token-of-grace").post("/", json={})

        assert len(api.requests) == 3
        assert all(b"cookie" not in request.lower() for request in api.requests)
        assert b"Bearer token-of-grace" in api.requests[1]

    def test_calls_of_their_own_keep_no_cookies(self, ask: Callable[..., ApiAnswer]) -> None:
        with Api(say(whole(b"{}", "Set-Cookie: who=ada; Path=/"))) as api:
            ask(api.url)
            ask(api.url)

        assert all(b"cookie" not in request.lower() for request in api.requests)

    @pytest.fixture
    def environment(self, trap: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """All settings that `requests` would read from the environment."""
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, trap.url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login ada password tide-table\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))

    @pytest.mark.usefixtures("environment")
    def test_the_environment_does_not_count(self, ask: Callable[..., ApiAnswer], trap: Api) -> None:
        with Api(say(whole(b"{}"))) as api:
            ask(api.url)

        assert trap.connections == 0
        assert b"authorization" not in api.requests[0].lower()

    @pytest.mark.usefixtures("environment")
    def test_nor_does_it_for_the_pool(self, client: Callable[..., ApiClient], trap: Api) -> None:
        with Api(say(whole(b"{}"))) as api:
            client(api.url).get("/")

        assert trap.connections == 0
        assert b"Authorization: Bearer a0" in api.requests[0]


class TestPool:
    def test_connections_are_kept_alive(self, client: Callable[..., ApiClient]) -> None:
        with Api(say(whole(b"{}"))) as api:
            for _ in range(5):
                client(api.url).get("/")

            assert (len(api.requests), api.connections) == (5, 1)

    def test_an_interim_answer_does_not_leave_one_users_data_to_another(self, client: Callable[..., ApiClient]) -> None:
        """Early hints come before the response. Read as the response, they would free the connection too early."""

        def script(connection: socket.socket, closing: threading.Event) -> None:
            (whose,) = re.findall(rb"Bearer (\S+)", api.requests[-1])
            connection.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            closing.wait(DRIBBLE_SECONDS)
            connection.sendall(whole(whose))

        with Api(script) as api:
            users = ["ada", "grace", "ada", "guest"]

            assert [client(api.url, user).get("/").text for user in users] == users
            assert api.connections == 1

    def test_an_answer_with_a_wrong_head_leaves_no_connection(self, client: Callable[..., ApiClient]) -> None:
        with Api(say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ")) as api:
            with pytest.raises(ApiUnavailable):
                client(api.url).get("/")

            assert api.is_left_alone()

    def test_the_log_quotes_no_head(self, client: Callable[..., ApiClient], caplog: pytest.LogCaptureFixture) -> None:
        head = b"HTTP/1.1 200 OK\r\nThis is no header\r\nSet-Cookie: token=r1\r\nContent-Length: 2\r\n\r\n{}"
        with Api(say(head)) as api, pytest.raises(ApiUnavailable) as caught:
            client(api.url).get("/")

        assert "r1" not in caplog.text
        assert "r1" not in f"{caught.value} {caught.value.__cause__}"

    def test_a_child_process_has_a_pool_of_its_own(self) -> None:
        program = """if True:
            import os
            from accounts.upstream.transport import pooled_adapter
            parents = pooled_adapter()
            child = os.fork()
            if child == 0:
                os._exit(0 if pooled_adapter() is not parents else 1)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            print(status, pooled_adapter() is parents)
        """

        assert _printed_by(program) == "0 True\n"


class TestPrepare:
    @pytest.fixture(autouse=True)
    def base_url(self, settings: Settings) -> None:
        settings.API_BASE_URL = "https://api.example.com/v1/"

    @pytest.mark.parametrize(
        ("path", "url"),
        [
            ("/", "https://api.example.com/v1/"),
            ("/tides?at=noon", "https://api.example.com/v1/tides?at=noon"),
            ("/a b/é", "https://api.example.com/v1/a%20b/%C3%A9"),
            ("//evil.example", "https://api.example.com/v1//evil.example"),
            ("/\\evil.example", "https://api.example.com/v1/%5Cevil.example"),
            ("/@evil.example", "https://api.example.com/v1/@evil.example"),
            ("/a\r\nHost: evil.example", "https://api.example.com/v1/a%0D%0AHost:%20evil.example"),
        ],
        ids=["root", "query", "any script", "two slashes", "backslash", "at", "line end"],
    )
    def test_a_path_is_one_under_the_base_url(self, path: str, url: str) -> None:
        assert prepare("GET", path, headers={}).url == url

    @pytest.mark.parametrize(
        "path",
        ["", "tides", "@evil.example", ".evil.example", ":8080/", "https://evil.example/", " /tides"],
        ids=repr,
    )
    def test_one_that_does_not_start_with_a_slash_is_refused(self, path: str) -> None:
        with pytest.raises(ValueError, match="slash"):
            prepare("GET", path, headers={})

    @pytest.mark.parametrize(
        "path",
        ["/../admin", "/tides/../../admin", "/..", "/%2e%2e/admin", "/.%2E/admin", "/tides/%2E%2e/../admin"],
    )
    def test_none_leads_out_of_the_base_url(self, path: str) -> None:
        try:
            url = prepare("GET", path, headers={}).url
        except ValueError:
            return
        assert url is not None
        assert url.startswith("https://api.example.com/v1/")
        assert "/../" not in f"{url}/"

    def test_the_callers_headers_come_last(self) -> None:
        request = prepare("GET", "/", headers={"Accept": "text/csv"}, address="2001:db8::1")

        assert request.headers["Accept"] == "text/csv"
        assert request.headers["X-Forwarded-For"] == "2001:db8::1"
        assert "python-requests" not in str(request.headers)

    def test_without_an_address_none_is_told(self) -> None:
        assert "X-Forwarded-For" not in prepare("GET", "/", headers={}).headers


class TestInterception:
    """Tests of an application can replace the API by the library `responses`, for both ways of calling it."""

    @responses.activate
    def test_a_call_of_its_own(self, ask: Callable[..., ApiAnswer]) -> None:
        responses.post("https://api.example.com/auth/refresh", json={"message": "no"}, status=401)

        answer = ask("https://api.example.com")

        assert (answer.status, answer.json_object()) == (401, {"message": "no"})
        assert responses.calls[0].request.body == b'{"refreshToken": "r0"}'

    @responses.activate
    def test_a_call_that_gets_no_answer(self, ask: Callable[..., ApiAnswer]) -> None:
        responses.post("https://api.example.com/auth/refresh", body=TimeoutError())

        with pytest.raises(AnswerLost):
            ask("https://api.example.com")

    @responses.activate
    def test_a_call_over_the_pool(self, client: Callable[..., ApiClient]) -> None:
        responses.get("https://api.example.com/tides", json=[1, 2])

        assert client("https://api.example.com").get("/tides").json() == [1, 2]
        assert responses.calls[0].request.headers["Authorization"] == "Bearer a0"


def test_connections_to_addresses_that_are_asked_no_more_go(settings: Settings) -> None:
    with ExitStack() as stack:
        apis = [stack.enter_context(DemoApi()) for _ in range(20)]
        for api in apis:
            settings.API_BASE_URL = api.url
            request = prepare("GET", "/protected-route", headers={}, address="")
            answer = pooled_adapter().send(request, timeout=PATIENCE_SECONDS)
            assert (answer.status_code, bool(answer.content)) == (401, True)

        assert 0 < len([port for port in connected_ports() if port in {urlsplit(api.url).port for api in apis}]) < 10


def connected_ports() -> list[int]:
    """The ports at the other ends of this machine's connections, from proc_pid_net(5)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    established = "01"
    return [int(row[2].partition(":")[2], 16) for row in rows if row[3] == established]
