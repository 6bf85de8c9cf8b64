"""A deadline for a whole exchange with the API. The timeouts of `requests` start again with each byte that arrives.

The deadline is kept by the socket's own timeout. Each connect, TLS handshake, send and read gets the timeout that the
caller chose, or the time that is left where that is less.
"""

import math
import socket
import ssl
import threading
import time
from contextlib import suppress
from http.client import HTTPResponse
from io import BufferedReader
from typing import TYPE_CHECKING, Any, Self

from urllib3.connection import HTTPConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.connection import allowed_gai_family
from urllib3.util.wait import wait_for_read

from accounts.upstream.timeout_socket import new_socket

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

#: The largest record of TLS (RFC 8446 section 5.1).
_TLS_RECORD_BYTES = 16 * 1024
_SMALL_BUFFER_BYTES = 512

_current = threading.local()


def current_deadline() -> "Deadline | None":
    """The deadline of the exchange that this thread is working on."""
    return getattr(_current, "deadline", None)


class Deadline:
    """The end of one exchange. A context manager: exchanges that this thread begins inside the block obey it.

    After the block, a response that is still being read has the timeout for each read alone.
    """

    def __init__(self, ends_at: float, *, new_connection: bool = False) -> None:
        """`ends_at` is a time of time.monotonic(); math.inf sets no deadline.

        With `new_connection`, the exchange uses no kept-alive connection: the one before has failed on one.
        """
        self.ends_at, self.new_connection = ends_at, new_connection
        #: Whether a connection was begun, and whether one was established, so that the API may have read something.
        self.connecting = self.connected = False
        self._in_force = True

    def has_passed(self) -> bool:
        return time.monotonic() >= self.ends_at

    def limit(self, sock: socket.socket, timeout: float | None) -> bool:
        """Give the next operation on `sock` at most `timeout` seconds. Returns False if the deadline has passed."""
        seconds = math.inf if timeout is None else timeout
        if self._in_force:
            seconds = min(seconds, self.ends_at - time.monotonic())
            if seconds <= 0:
                return False
        if sock.gettimeout() != seconds:
            sock.settimeout(seconds if seconds < math.inf else None)
        return True

    def look_before_sending(self) -> None:
        """Raises TimeoutError after the deadline: a host that was suspended since its claim has spent nothing yet."""
        if self.has_passed():
            raise TimeoutError("the deadline passed before the request was sent")
        self.connected = True

    def __enter__(self) -> Self:
        self._outer = current_deadline()
        _current.deadline = self
        return self

    def __exit__(self, *_: object) -> None:
        self._in_force = False
        _current.deadline = self._outer


class DeadlineConnection(HTTPConnection):
    """A connection that obeys the deadline of the thread that uses it, if there is one."""

    def _new_conn(self) -> socket.socket:
        """As urllib3 does, but each address of the host gets the time that is left."""
        deadline = current_deadline()
        if deadline is None:
            return super()._new_conn()
        deadline.connecting = True
        try:
            return self._connect_to_any_address(deadline)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, f"Connection to {self.host} timed out.") from error
        except OSError as error:
            raise NewConnectionError(self, f"Failed to establish a new connection: {error}") from error

    def _connect_to_any_address(self, deadline: Deadline) -> socket.socket:
        failure = OSError("the host has no address")
        addresses = socket.getaddrinfo(self._dns_host, self.port, allowed_gai_family(), socket.SOCK_STREAM)
        for family, _, protocol, _, address in addresses:
            try:
                return self._connect_to(address, new_socket(family, protocol), deadline)
            except OSError as error:
                failure = error
        try:
            raise failure
        finally:
            # The traceback refers to this frame, so this would be a reference cycle.
            del failure

    def _connect_to(self, address: Any, sock: socket.socket, deadline: Deadline) -> socket.socket:
        try:
            for option in self.socket_options or ():
                sock.setsockopt(*option)
            if not deadline.limit(sock, self.timeout):
                raise TimeoutError("the deadline passed before a connection was established")
            sock.connect(address)
            # A TLS handshake takes over this timeout.
            if not deadline.limit(sock, self.timeout):
                raise TimeoutError("the deadline passed while the connection was established")
        except BaseException:
            sock.close()
            raise
        return sock

    def connect(self) -> None:
        super().connect()
        deadline = current_deadline()
        if deadline is not None:
            deadline.look_before_sending()

    def send(self, data: Any) -> None:
        """Raises TimeoutError for a send that takes too long, and BrokenPipeError at the deadline.

        urllib3 ignores a BrokenPipeError and a ConnectionResetError: the API may have sent a response before it had
        read the whole request. That response counts.
        """
        deadline = current_deadline()
        if deadline is None:
            super().send(data)
            return
        if self.sock is None:
            self.connect()
        elif not deadline.connected:
            # Kept alive from an earlier exchange.
            deadline.look_before_sending()
        # A plain socket's `sendall` has one timeout. A TLS socket's has one for each record, so the limit is set anew.
        size = _TLS_RECORD_BYTES if isinstance(self.sock, ssl.SSLSocket) else max(len(data), 1)
        for start in range(0, len(data), size):
            try:
                in_time = deadline.limit(self.sock, self.timeout)
                if in_time:
                    self.sock.sendall(data[start : start + size])
            except ssl.SSLError as error:
                # The API has closed the connection. TLS has an error of its own for that.
                raise BrokenPipeError("the connection was closed before the whole request was sent") from error
            except TimeoutError as error:
                _raise_unless_timeout(error)
                if not (deadline.has_passed() or self._has_response()):
                    raise
                in_time = False
            if not in_time:
                _hang_up(self.sock)
                raise BrokenPipeError("the whole request could not be sent in time")

    def _has_response(self) -> bool:
        """Whether the API has sent something. Over TLS that may be a session ticket, so it does not count."""
        return not isinstance(self.sock, ssl.SSLSocket) and wait_for_read(self.sock, 0)


class DeadlineResponse(HTTPResponse):
    """A response that ends at the deadline of the exchange in which it began."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        deadline = current_deadline()
        if deadline is not None:
            # Change the class of the existing reader: a second buffered reader would be slower.
            self.fp.raw.__class__ = _DeadlineReader
            self.fp.raw.obey(deadline, sock)  # type: ignore[attr-defined]

    def shrink_buffer(self) -> None:
        """Hold a few bytes in the place of 8 KB. For a body that is read with `wait`, which has a buffer of its own."""
        if self.fp is not None and isinstance(self.fp.raw, _DeadlineReader):
            reader = self.fp.raw
            reader.put_back(self.fp)
            self.fp.detach()
            self.fp = BufferedReader(reader, _SMALL_BUFFER_BYTES)

    def wait(self, seconds: float) -> bool:
        """Wait for more of the body, or for its end. Returns False if neither arrives within `seconds`.

        Waiting longer than the timeout of a read does not break the connection. Raises OSError if it is broken.
        """
        ends_at = time.monotonic() + seconds
        # The line end of a chunk is not read with the chunk, so it may be here already.
        known = 2 if self.chunk_left == 0 else 0
        while self.fp is not None and self.length != 0:
            reader: _DeadlineReader = self.fp.raw  # type: ignore[assignment]
            if reader.count_arrived(self.fp) > known:
                return True
            if not reader.read_ahead(ends_at - time.monotonic()):
                return reader.at_end
        return True


class _DeadlineReader(socket.SocketIO):
    """Reads from a socket until the deadline."""

    def obey(self, deadline: Deadline, sock: socket.socket) -> None:
        """urllib3 has set the timeout for each read on the socket."""
        self._deadline, self._socket, self._timeout = deadline, sock, sock.gettimeout()
        #: What `read_ahead` has read, for the next reads.
        self._ahead = b""
        self._only_ahead = False
        self.at_end = False

    def read_ahead(self, seconds: float) -> bool:
        """Read what arrives within `seconds`, and keep it. Returns False if nothing does, or at the end."""
        if seconds <= 0 or self.at_end:
            return False
        self._socket.settimeout(seconds)
        try:
            piece = self._socket.recv(_TLS_RECORD_BYTES)
        except TimeoutError as error:
            if error.errno is not None:
                # The operating system gave the connection up: TCP keepalive got no reply.
                raise
            return False
        self._ahead += piece
        self.at_end = not piece
        return bool(piece)

    def count_arrived(self, buffered: BufferedReader) -> int:
        """How many bytes `buffered`, which reads from here, can read without a wait."""
        self._only_ahead = True
        try:
            # Without buffered bytes, `peek` calls `readinto`.
            return len(buffered.peek()) + len(self._ahead)
        finally:
            self._only_ahead = False

    def put_back(self, buffered: BufferedReader) -> None:
        """Take what `buffered`, which reads from here, has read but not returned: the next reads return it."""
        self._only_ahead = True
        try:
            self._ahead = buffered.peek() + self._ahead
        finally:
            self._only_ahead = False

    def readinto(self, buffer: "WriteableBuffer") -> int | None:
        """Raises TimeoutError for a read that takes too long. At the deadline, the connection ends.

        What had arrived by then is still read, then comes the end of the file: a process that was suspended reads the
        response when it resumes, and that response may hold the only valid token pair.
        """
        if self._ahead or self._only_ahead:
            view = memoryview(buffer).cast("B")
            count = min(len(view), len(self._ahead))
            view[:count], self._ahead = self._ahead[:count], self._ahead[count:]
            # None means: nothing has arrived yet.
            return count or None
        try:
            if self._deadline.limit(self._socket, self._timeout):
                return self._socket.recv_into(buffer)
        except TimeoutError as error:
            _raise_unless_timeout(error)
            if not self._deadline.has_passed():
                raise
        _hang_up(self._socket)
        return self._socket.recv_into(buffer)


def _raise_unless_timeout(error: TimeoutError) -> None:
    """Python has one class for a timeout of its own and for a connection that the operating system gave up."""
    if error.errno is not None:
        raise ConnectionAbortedError("the other side no longer acknowledges data") from error


def _hang_up(sock: socket.socket) -> None:
    """End the connection for both sides. `ssl.SSLSocket.shutdown` would make later reads return the encrypted bytes."""
    with suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
