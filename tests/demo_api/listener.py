"""The listening socket and its connections: a thread each, and a way to stop that leaves nothing open."""

import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SHUT_RDWR
from socketserver import TCPServer
from typing import Any

from tests.demo_api.faults import FaultPlan
from tests.demo_api.messages import Answer, Call, Request

STOP_SECONDS = 2.0


class ApiServer(ThreadingHTTPServer):
    """Listens from the moment it is made; `stop` leaves no socket behind."""

    request_queue_size = 256
    daemon_threads = True

    def __init__(
        self,
        address: tuple[str, int],
        handler: type[BaseHTTPRequestHandler],
        *,
        answer: Callable[[Request], Answer],
        faults: FaultPlan,
        record: Callable[[Call], None],
        now: Callable[[], float],
        processing_seconds: float = 0.0,
    ) -> None:
        self.answer = answer
        self.faults = faults
        self.record = record
        self.now = now
        self.processing_seconds = processing_seconds
        self.closing = threading.Event()
        self._connections: set[Any] = set()
        self._changed = threading.Condition()
        super().__init__(address, handler)
        self._acceptor = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def start(self) -> None:
        self._acceptor.start()

    def stop(self) -> None:
        """Refuse new connections, break the kept-alive ones, wait for their threads; a request under way is dropped."""
        self.closing.set()
        with suppress(OSError):  # wakes the acceptor, where the system does so: else it looks up at its next poll
            self.socket.shutdown(SHUT_RDWR)
        self.shutdown()
        self._acceptor.join()
        self.server_close()
        with self._changed:
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(SHUT_RDWR)
            self._changed.wait_for(lambda: not self._connections, timeout=STOP_SECONDS)

    def server_bind(self) -> None:
        """As `HTTPServer` does, without asking the name service who we are, which can take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._changed:
            self._connections.discard(request)
            self._changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news; anything else is a mistake of ours, and loud."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)
