"""A server on a real socket that answers each request with a script: it dribbles, hangs up or keeps silent."""

import itertools
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

from accounts.upstream.calls import ApiCall

CALL = ApiCall(method="POST", path="/auth/refresh", json={"refreshToken": "r0"})
SOON_SECONDS = 0.3
PATIENCE_SECONDS = 10.0
#: Between two bytes of an API that dribbles: far below every timeout, so that only the deadline can end it.
DRIBBLE_SECONDS = 0.02

#: Of the threads that serve a connection.
THREAD_NAME = "scripted API"

Script = Callable[[socket.socket, threading.Event], object]


def say(answer: bytes) -> Script:
    """Send `answer` and wait for the next request."""
    return lambda connection, closing: connection.sendall(answer)


def say_and_hang_up(answer: bytes) -> Script:
    def script(connection: socket.socket, closing: threading.Event) -> None:
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_WR)

    return script


def dribble(beginning: bytes, forever: bytes) -> Script:
    """Send `beginning`, then `forever` again and again, byte by byte, until the other side closes the connection."""

    def script(connection: socket.socket, closing: threading.Event) -> None:
        connection.sendall(beginning)
        for byte in itertools.cycle(forever):
            if closing.wait(DRIBBLE_SECONDS):
                return
            connection.sendall(bytes([byte]))

    return script


def keep_silent(connection: socket.socket, closing: threading.Event) -> None:
    """Send nothing, but read, to notice that the other side closes the connection."""
    while connection.recv(65_536):
        pass


def hear_and_reset(connection: socket.socket, closing: threading.Event) -> None:
    connection.recv(1)
    reset(connection, closing)


def reset(connection: socket.socket, closing: threading.Event) -> None:
    """Closes with RST instead of FIN, which a linger time of zero does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def whole(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


class Api:
    """Listens on a free port and runs the script for each request; with `greet` also before the first one.

    With the file of a `certificate` and its key, it speaks TLS.
    """

    def __init__(self, script: Script, *, greet: bool = False, certificate: Path | None = None) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self._script, self._greet = script, greet
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if certificate else None
        if self._tls and certificate:
            self._tls.load_cert_chain(certificate)
        self._closing = threading.Event()
        self._changed = threading.Condition()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._acceptor = threading.Thread(target=self._accept, daemon=True)

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join(PATIENCE_SECONDS)
        self._listener.close()
        with self._changed:
            for connection in self._open:
                with suppress(OSError):
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
        assert self.is_left_alone()

    def is_left_alone(self) -> bool:
        """Whether all connections end within PATIENCE_SECONDS."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._open, PATIENCE_SECONDS)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
            with self._changed:
                self._open.add(connection)
                self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True, name=THREAD_NAME).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            if isinstance(connection, ssl.SSLSocket):
                connection.do_handshake()
            if self._greet:
                self._script(connection, self._closing)
            while request := self._read(connection):
                self.requests.append(request)
                self._script(connection, self._closing)
        with self._changed:
            self._open.discard(connection)
            self._changed.notify_all()

    @staticmethod
    def _read(connection: socket.socket) -> bytes:
        request = b""
        while b"\r\n\r\n" not in request:
            piece = connection.recv(65_536)
            if not piece:
                return b""
            request += piece
        head, _, body = request.partition(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        while lengths and len(body) < int(lengths[0].partition(b":")[2]):
            piece = connection.recv(65_536)
            if not piece:
                return b""
            body += piece
        return head + b"\r\n\r\n" + body
