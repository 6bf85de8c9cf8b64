"""An API that says whatever bytes a test gives it: no HTTP library stands in between, for which they are too wrong."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any

#: The rest of a request that takes longer than this never comes.
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One request, as it came. Header names in lower case; one that came twice is here twice."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def header(self, name: str) -> str:
        """The value of a header; empty where it was not sent. Fails for one that was sent twice."""
        values = [value for known, value in self.headers if known == name]
        assert len(values) < 2, f"{name} came twice"
        return values[0] if values else ""


def said(body: bytes, *headers: str, status: int = 200) -> bytes:
    """A whole answer of JSON as it should be, after which the connection can be used again."""
    lines = [f"HTTP/1.1 {status} So", f"Content-Length: {len(body)}", "Content-Type: application/json", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class RawApi(ThreadingTCPServer):
    """Answers with `answers` by path, else with `otherwise`. After an answer that `said` did not make, it hangs up."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.heard: list[Heard] = []
        self.answers: dict[str, bytes] = {}
        self.otherwise = said(b'{"data": []}')
        #: Answers after which the connection stays open.
        self.keeps_open: set[bytes] = {self.otherwise}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def begin(self, answers: dict[str, bytes] | None = None, *, keeps_open: bool = False) -> None:
        """A new example: what was heard is forgotten."""
        self.heard.clear()
        self.answers = answers or {}
        self.keeps_open = {self.otherwise, *(self.answers.values() if keeps_open else ())}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Silent: connections break here on purpose."""


@contextmanager
def raw_api() -> Iterator[RawApi]:
    """One that serves in a thread."""
    with RawApi() as api:
        thread = threading.Thread(target=api.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield api
        finally:
            api.shutdown()
            thread.join()


class _Connection(StreamRequestHandler):
    """Takes requests by the letter of RFC 9112, with their Content-Length alone: no other framing should ever come."""

    server: RawApi
    timeout = PATIENCE_SECONDS

    def handle(self) -> None:
        while (heard := self._hear()) is not None:
            self.server.heard.append(heard)
            answer = self.server.answers.get(heard.path, self.server.otherwise)
            self.wfile.write(answer)
            if answer not in self.server.keeps_open:
                return

    def _hear(self) -> Heard | None:
        line = self.rfile.readline()
        if not line:
            return None
        method, target, _ = line.decode("latin-1").split(" ")
        headers = []
        while (line := self.rfile.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            headers.append((name.lower(), value.strip()))
        length = next((int(value) for name, value in headers if name == "content-length"), 0)
        return Heard(method=method, target=target, headers=headers, body=self.rfile.read(length))
