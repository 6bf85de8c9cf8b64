"""A TCP socket that takes a new timeout without a system call, and does not wait before it sends.

urllib3 sets two timeouts in each call, and Python's own socket waits before each send. During such a call,
another thread may take over the interpreter, and this one then waits for it.
"""

import socket
import time
from collections.abc import Callable
from typing import Any, TypeVar

from urllib3.util.wait import wait_for_read, wait_for_write

_Read = TypeVar("_Read", bytes, int)
#: 23 days. poll(2) takes milliseconds as a C int, which holds no more than 24 days.
_MAX_SECONDS = 2_000_000.0


def new_socket(family: int, protocol: int) -> socket.socket:
    """A TCP socket that is not connected. gevent's own, which stands in for Python's, needs none of this."""
    kind = TimeoutSocket if socket.socket.__module__ == "socket" else socket.socket
    return kind(family, socket.SOCK_STREAM, protocol)


class TimeoutSocket(socket.socket):
    """`recv`, `recv_into` and `sendall` obey the timeout as those of Python's socket do: they raise TimeoutError.

    After `connect`, no other method waits. A TLS socket that is made from this one is Python's own.
    """

    _timeout: float | None = None
    _is_connected = False

    def connect(self, address: Any, /) -> None:
        super().connect(address)
        super().settimeout(0)
        self._is_connected = True

    def settimeout(self, value: float | None, /) -> None:
        """`value` is in seconds. None waits without end."""
        self._timeout = None if value is None else min(value, _MAX_SECONDS)
        if not self._is_connected:
            super().settimeout(value)

    def gettimeout(self) -> float | None:
        return self._timeout

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        rest = memoryview(data).cast("B")
        ends_at = None if self._timeout is None else time.monotonic() + self._timeout
        while rest:
            try:
                rest = rest[self.send(rest, flags) :]
            except BlockingIOError:
                if not wait_for_write(self, None if ends_at is None else max(ends_at - time.monotonic(), 0)):
                    raise TimeoutError("timed out") from None

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        return self._read(super().recv, bufsize, flags)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        return self._read(super().recv_into, buffer, nbytes, flags)

    def _read(self, read: Callable[..., _Read], *arguments: Any) -> _Read:
        while wait_for_read(self, self._timeout):
            try:
                return read(*arguments)
            except BlockingIOError:
                # The system may take back what it has announced (poll(2)).
                continue
        raise TimeoutError("timed out")
