"""Plain TCP sockets with timeouts: as Python's own, whether the other side is slow, silent or gone."""

import socket
import threading
from collections.abc import Iterator

import pytest
from urllib3.util.wait import wait_for_write

from accounts.upstream import timeout_socket
from accounts.upstream.timeout_socket import TimeoutSocket, new_socket
from tests.accounts.upstream.scripted_api import PATIENCE_SECONDS, SOON_SECONDS

#: More than the buffers of both sides hold.
LARGE = bytes(range(256)) * 65_536


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A socket of ours that is connected, and the other side's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = new_socket(socket.AF_INET, 0)
        ours.settimeout(PATIENCE_SECONDS)
        ours.connect(listener.getsockname())
        theirs, _ = listener.accept()
        theirs.settimeout(PATIENCE_SECONDS)
        with ours, theirs:
            yield ours, theirs


def test_all_is_sent_to_a_slow_reader(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    sender = threading.Thread(target=ours.sendall, args=(memoryview(LARGE).cast("I"),))
    sender.start()
    received = bytearray()
    while len(received) < len(LARGE) and (piece := theirs.recv(10_000)):
        received += piece
    sender.join(PATIENCE_SECONDS)

    assert received == LARGE


@pytest.mark.parametrize("timeout", [SOON_SECONDS, 1e-9])
def test_nobody_reads_and_nobody_writes(ends: tuple[socket.socket, socket.socket], timeout: float) -> None:
    """An error number would mean that the system gave the connection up."""
    ours, theirs = ends
    ours.settimeout(timeout)
    assert ours.gettimeout() == timeout
    for use in (lambda: ours.sendall(LARGE), lambda: ours.recv(1), lambda: ours.recv_into(bytearray(1))):
        with pytest.raises(TimeoutError) as caught:
            use()
        assert caught.value.errno is None
    ours.settimeout(PATIENCE_SECONDS)
    theirs.sendall(b"late")

    assert ours.recv(10) == b"late"


def test_a_send_has_one_timeout_however_often_it_waits(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In each wait, the other side reads just enough for the next send."""
    ours, theirs = ends
    waits: list[float | None] = []

    def read_just_enough(sock: socket.socket, timeout: float | None) -> bool:
        waits.append(timeout)
        while not wait_for_write(sock, 0):
            theirs.recv(10_000)
        return True

    monkeypatch.setattr(timeout_socket, "wait_for_write", read_just_enough)
    ours.sendall(LARGE)

    seconds = [wait for wait in waits if wait is not None]
    assert len(seconds) == len(waits) > 1
    assert PATIENCE_SECONDS > seconds[0] > seconds[-1]


def test_the_connection_ends(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    theirs.sendall(b"last")
    theirs.close()

    assert [ours.recv(10), ours.recv(10)] == [b"last", b""]


def test_a_timeout_of_a_year(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    theirs.sendall(b"data")
    ours.settimeout(365 * 24 * 3600)

    assert ours.recv(10) == b"data"


def test_it_waits_again_if_there_is_nothing_after_all(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """poll(2) may say that data is there when it is not."""
    ours, theirs = ends
    waits: list[float | None] = []

    def announce(sock: socket.socket, timeout: float | None) -> bool:
        waits.append(timeout)
        if len(waits) == 2:
            theirs.sendall(b"data")
        return True

    monkeypatch.setattr(timeout_socket, "wait_for_read", announce)
    buffer = bytearray(10)
    count = ours.recv_into(buffer)

    assert buffer[:count] == b"data"
    assert waits[:2] == [PATIENCE_SECONDS] * 2


def test_a_call_changes_the_timeout_without_the_system(ends: tuple[socket.socket, socket.socket]) -> None:
    """The socket stays one that does not block."""
    ours, _ = ends
    assert isinstance(ours, TimeoutSocket)
    ours.settimeout(None)

    assert (ours.gettimeout(), ours.getblocking()) == (None, False)


def test_where_another_socket_stands_in_for_pythons_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """gevent puts its own there."""

    class Another(socket.socket):
        pass

    monkeypatch.setattr(socket, "socket", Another)
    with new_socket(socket.AF_INET, 0) as ours:
        assert type(ours) is Another
