"""An upload that stops half-way, over real sockets: the next user's request must not become the rest of its body."""

import socket
import threading
from collections.abc import Iterator
from socketserver import StreamRequestHandler, ThreadingTCPServer

import pytest

from tests.demo_api.server import DemoApi
from tests.load.browser import Browser
from tests.load.processes import wait_until
from tests.load.site import Site

PROXY = "/protected/api/protected-route"


class EarlyApi(StreamRequestHandler):
    """Responds to an upload before its end, reads on, and keeps the connection, as some servers do. Relays the rest."""

    server: "EarlyServer"

    def handle(self) -> None:
        while head := self._head():
            length = int(head.get("content-length", "0"))
            if length < 1024 * 1024:
                self._relay(head, self.rfile.read(length))
                continue
            self.wfile.write(b"HTTP/1.1 413 So\r\nContent-Length: 2\r\n\r\n{}")
            try:
                body = self.rfile.read(length)
            except ConnectionError:
                body = b""
            self.server.uploads.append(body)
            if len(body) < length:
                return

    def _head(self) -> dict[str, str]:
        self.first = self.rfile.readline()
        head: dict[str, str] = {}
        while (line := self.rfile.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            head[name.lower()] = value.strip()
        return head

    def _relay(self, head: dict[str, str], body: bytes) -> None:
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items() if name != "connection")
        with socket.create_connection(("127.0.0.1", self.server.behind), timeout=30) as api:
            api.sendall(self.first + f"{lines}connection: close\r\n\r\n".encode("latin-1") + body)
            while answer := api.recv(65_536):
                # The connection to the site stays open, because the test is about the site's connection pool.
                self.wfile.write(answer.replace(b"Connection: close\r\n", b""))


class EarlyServer(ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, behind: int) -> None:
        super().__init__(("127.0.0.1", 0), EarlyApi)
        self.behind = behind
        self.uploads: list[bytes] = []


@pytest.fixture(scope="module")
def running_early_api() -> Iterator[EarlyServer]:
    with DemoApi(access_ttl=600) as api, EarlyServer(api.port) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def early(running_early_api: EarlyServer) -> EarlyServer:
    """The API that responds early, with an empty list of uploads."""
    running_early_api.uploads.clear()
    return running_early_api


@pytest.fixture(scope="module")
def site(running_early_api: EarlyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(
        database_url=f"sqlite:///{tmp_path_factory.mktemp('site')}/db.sqlite3",
        api_url=f"http://127.0.0.1:{running_early_api.server_address[1]}",
        workers=1,
        environment={"API_PROXY_ALLOW": "GET /protected-route, POST /protected-route"},
    )
    site.migrate()
    with site:
        yield site


def send_part(site: Site, person: Browser, announced: int, sent: int) -> bytes:
    """Announce a body, send less of it, and stop sending. Returns the site's response."""
    head = (
        f"POST {PROXY} HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\nCookie: {person.jar.header()}\r\n"
        f"X-CSRFToken: {person.jar.value('csrftoken')}\r\nContent-Type: application/octet-stream\r\n"
        f"Content-Length: {announced}\r\nAccept: application/json\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", site.port), timeout=30) as connection:
        connection.sendall(head.encode() + b"x" * sent)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65_536):
            answer += piece
    return answer


@pytest.mark.parametrize("short_by", [1, 150, 1_000_000])
def test_the_next_users_request_does_not_become_the_rest(site: Site, early: EarlyServer, short_by: int) -> None:
    attacker, victim = Browser(site.port), Browser(site.port)
    attacker.sign_in()
    victim.sign_in("grace@example.com")

    send_part(site, attacker, 2 * 1024 * 1024, 2 * 1024 * 1024 - short_by)
    pages = [victim.open("/protected/") for _ in range(5)]

    assert [page.status for page in pages] == [200] * 5
    assert b"grace@example.com" in pages[0].body
    # The API noticed that the upload broke off, and received nothing of another user's request behind it.
    wait_until(lambda: len(early.uploads) == 1, "the API has seen the upload break off")
    assert set(early.uploads[0]) <= {ord("x")}


def test_half_of_a_small_body_is_not_passed_on_as_complete(site: Site, early: EarlyServer) -> None:
    person = Browser(site.port)
    person.sign_in()

    answer = send_part(site, person, 1000, 400)

    assert not answer.startswith(b"HTTP/1.1 2")
    assert early.uploads == []
