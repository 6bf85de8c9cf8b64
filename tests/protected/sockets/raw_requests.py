"""Requests of a browser over raw sockets, and the addresses that they go to."""

import http.client
import socket
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager

from tests.load.browser import Browser, page_or_events
from tests.load.site import Site
from tests.protected.sockets.scripted_api import PATIENCE_SECONDS

THREADS = 6
MEGABYTE = 1024 * 1024
ROUTE = "/protected-route"
EXPORT = "/protected-route/export.csv"
DOWNLOAD = "/protected/download/"
PROXY = "/protected/api/protected-route"
PROXIED = f"{PROXY}/export.csv"
#: SO_LINGER with a time of zero: closing breaks the connection (RST).
BREAK = struct.pack("ii", 1, 0)


@contextmanager
def opened(browser: Browser, path: str) -> Iterator[http.client.HTTPResponse]:
    """A response that can be read while it arrives. Leaving the context early breaks the connection."""
    connection = http.client.HTTPConnection("127.0.0.1", browser.port, timeout=PATIENCE_SECONDS)
    with closing(connection):
        connection.request("GET", path, headers={"Cookie": browser.jar.header(), "Accept": page_or_events(path)})
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, BREAK)
        with connection.getresponse() as response:
            assert response.status == 200
            yield response


def read_to(response: http.client.HTTPResponse, mark: bytes) -> bytes:
    """Read the response until `mark` has arrived. Returns what was read."""
    read = b""
    while mark not in read:
        piece = response.read1(65_536)
        assert piece, f"the response ended without {mark!r}: {read!r}"
        read += piece
    return read


def send_raw(site: Site, request: bytes) -> tuple[int, bytes]:
    """Send these bytes. Returns the status and the body of the response."""
    with socket.create_connection(("127.0.0.1", site.port), timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(request)
        with http.client.HTTPResponse(connection) as response:
            response.begin()
            return response.status, response.read()


def head_of(browser: Browser, method: str, path: str, *lines: str) -> bytes:
    """The head of a script's request, with `Connection: close`."""
    token = browser.jar.csrf_token
    always = [
        "Connection: close",
        "Accept: application/json",
        f"Cookie: {browser.jar.header()}",
        f"X-CSRFToken: {token}",
    ]
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *always, *lines, "", ""]).encode()
