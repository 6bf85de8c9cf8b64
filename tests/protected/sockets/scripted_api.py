"""The demo API, with chosen paths served by a test's own script over the raw connection."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any

PATIENCE_SECONDS = 60.0

FRAMINGS = {
    "chunked": "Transfer-Encoding: chunked\r\n",
    "with a length": "Content-Length: {length}\r\n",
    "until it closes": "",
}


class ApiConnection(StreamRequestHandler):
    """One connection for one request. A test's script responds to it, or the demo API."""

    server: "ScriptedApi"

    def handle(self) -> None:
        lines = []
        while (line := self.rfile.readline()) not in (b"\r\n", b""):
            lines.append(line)
        if not lines:
            return
        self.path = lines[0].split()[1].decode().partition("?")[0]
        self.length = 0
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                self.length = int(value)
        script = self.server.scripts.get(self.path)
        if script is None:
            self._relay(lines)
        else:
            self.server.arrivals.append(self.path)
            script(self)

    def send(self, text: str | bytes) -> None:
        self.wfile.write(text if isinstance(text, bytes) else text.encode())

    def respond(self, status: int, body: bytes) -> None:
        self.send(f"HTTP/1.1 {status} So\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n")
        self.send(body)

    def begin(self, framing: str, length: int) -> None:
        """Send the head of a response with a body of `length` bytes, which `piece` sends."""
        self.framing = framing
        self.send(f"HTTP/1.1 200 So\r\nConnection: close\r\n{FRAMINGS[framing].format(length=length)}\r\n")

    def piece(self, body: bytes) -> None:
        self.send(b"%x\r\n%b\r\n" % (len(body), body) if self.framing == "chunked" else body)

    def end(self) -> None:
        if self.framing == "chunked":
            self.send("0\r\n\r\n")

    def _relay(self, head: list[bytes]) -> None:
        kept = [line for line in head[1:] if not line.lower().startswith(b"connection:")]
        with socket.create_connection(("127.0.0.1", self.server.behind), timeout=PATIENCE_SECONDS) as api:
            api.sendall(b"".join([head[0], *kept, b"Connection: close\r\n\r\n", self.rfile.read(self.length)]))
            while response := api.recv(65_536):
                self.send(response)


Script = Callable[[ApiConnection], None]


class ScriptedApi(ThreadingTCPServer):
    """Stands in front of the demo API, and runs a test's scripts for what the demo API cannot do."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, behind: int) -> None:
        self.behind = behind
        self.scripts: dict[str, Script] = {}
        self.arrivals: list[str] = []
        super().__init__(("127.0.0.1", 0), ApiConnection)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Silent, because tests break connections on purpose."""

    @contextmanager
    def scripted(self, path: str, script: Script) -> Iterator[None]:
        self.arrivals.clear()
        self.scripts[path] = script
        try:
            yield
        finally:
            del self.scripts[path]
