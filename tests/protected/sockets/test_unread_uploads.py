"""Uploads that get their response before they are read: the rest is read, but neither without end nor for ever."""

import http.client
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from config.uploads import MAX_BYTES, MAX_SECONDS
from tests.load.site import Site
from tests.protected.sockets.raw_requests import MEGABYTE, THREADS, send_raw
from tests.protected.sockets.scripted_api import PATIENCE_SECONDS

HEAD = b"POST /nowhere/ HTTP/1.1\r\nHost: 127.0.0.1\r\n"
NEXT = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
CHUNK = b"100000\r\n" + bytes(MEGABYTE) + b"\r\n"


def bytes_in_between() -> int:
    """The most that the system's buffers of both ends hold: the largest of three numbers each (tcp(7))."""
    limits = [Path(f"/proc/sys/net/ipv4/{name}") for name in ("tcp_rmem", "tcp_wmem")]
    return sum(int(limit.read_text().split()[2]) for limit in limits)


def connect(site: Site) -> socket.socket:
    return socket.create_connection(("127.0.0.1", site.port), timeout=PATIENCE_SECONDS)


def read_status(connection: socket.socket) -> int:
    response = http.client.HTTPResponse(connection)
    response.begin()
    response.read()
    return response.status


@pytest.mark.parametrize(
    "body",
    [b"Content-Length: 2097152\r\n\r\n" + bytes(2 * MEGABYTE), CHUNKED + CHUNK + CHUNK + b"0\r\n\r\n"],
    ids=["with its length", "in chunks"],
)
def test_the_connection_serves_the_next_request(site: Site, body: bytes) -> None:
    with connect(site) as connection:
        connection.sendall(HEAD + body)
        assert read_status(connection) == 404
        connection.sendall(NEXT)

        assert read_status(connection) == 200


def test_uploads_that_stall_hold_no_thread(site: Site) -> None:
    with ExitStack() as stack:
        for _ in range(THREADS):
            connection = stack.enter_context(connect(site))
            connection.sendall(HEAD + b"Content-Length: 1000000\r\n\r\n" + b"some")
            assert read_status(connection) == 404

        assert send_raw(site, NEXT)[0] == 200
        assert connection.recv(1) == b"", "the connection is closed"


def drip(connection: socket.socket, seconds: float) -> None:
    """Send a byte five times a second."""
    give_up_at = time.monotonic() + seconds
    while time.monotonic() < give_up_at:
        connection.sendall(b"a")
        time.sleep(0.2)


@pytest.mark.parametrize("body", [b"Content-Length: 60000\r\n\r\n", CHUNKED + b"ea60\r\n"], ids=["length", "chunks"])
def test_an_upload_that_drips_loses_its_connection(site: Site, body: bytes) -> None:
    """Each byte comes in time, and the whole would take hours."""
    with connect(site) as connection:
        connection.sendall(HEAD + body)
        assert read_status(connection) == 404

        with pytest.raises(ConnectionError):
            drip(connection, MAX_SECONDS)


@pytest.mark.parametrize("rest", [b"zz\r\n", b"5\r\nhello, this is too long\r\n"])
def test_broken_chunks_do_not_change_the_response(site: Site, rest: bytes) -> None:
    with connect(site) as connection:
        connection.sendall(HEAD + CHUNKED + rest)

        assert read_status(connection) == 404
        assert connection.recv(1) == b"", "the connection is closed"


def send_without_end(connection: socket.socket) -> int:
    """Send chunks until the connection breaks. Returns how many megabytes were sent."""
    connection.sendall(HEAD + CHUNKED)
    for megabyte in range(1000):
        try:
            connection.sendall(CHUNK)
        except ConnectionError:
            return megabyte
    return 1000


def test_an_upload_without_an_end_is_cut_off(site: Site) -> None:
    with connect(site) as connection:
        sent = send_without_end(connection)

    assert sent * MEGABYTE <= MAX_BYTES + bytes_in_between()
    assert send_raw(site, NEXT)[0] == 200
