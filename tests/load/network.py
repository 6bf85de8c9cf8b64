"""A network between the site and the API that forgets connections, as a NAT or a firewall does with idle ones."""

import socket
import struct
import threading
from contextlib import suppress
from typing import Literal

Forgotten = Literal["", "silent", "reset"]

_BREAK = struct.pack("ii", 1, 0)
_PIECE_BYTES = 64 * 1024


class ForgetfulNetwork:
    """Passes TCP connections on to a port of 127.0.0.1, as a context manager.

    `forget` drops the connections that are open. Nobody is told. New ones are passed on.
    """

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._connections: list[_Connection] = []
        self._lock = threading.Lock()

    def __enter__(self) -> "ForgetfulNetwork":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for connection in self._connections:
                connection.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def forget(self, how: Literal["silent", "reset"]) -> int:
        """Nothing goes through the present connections any more. Returns their number.

        `silent` loses what is sent. `reset` breaks the connection at the first byte.
        """
        with self._lock:
            open_ones = [connection for connection in self._connections if connection.is_open()]
            for connection in open_ones:
                connection.forgotten = how
            return len(open_ones)

    @property
    def lost(self) -> int:
        """How many times somebody sent something on a forgotten connection."""
        with self._lock:
            return sum(connection.lost for connection in self._connections)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._to_port))
            except OSError:
                client.close()
                continue
            connection = _Connection(client, server)
            with self._lock:
                self._connections.append(connection)
            connection.start()


class _Connection:
    """The two sockets of a connection, and a thread for each direction."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.forgotten: Forgotten = ""
        self.lost = 0
        self._client = client
        self._server = server
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start(self) -> None:
        for source, target in ((self._client, self._server), (self._server, self._client)):
            threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def is_open(self) -> bool:
        return not self.forgotten and self._client.fileno() >= 0

    def close(self) -> None:
        for end in (self._client, self._server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(_PIECE_BYTES):
                if not self.forgotten:
                    target.sendall(piece)
                elif source is self._client:
                    self.lost += 1
                    if self.forgotten == "reset":
                        self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _BREAK)
                        self._client.close()
                        return
        # The end of a forgotten connection is not passed on either.
        if not self.forgotten or source is self._client:
            self.close()
