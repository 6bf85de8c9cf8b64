"""A proxy in front of the site, with or without the faults of real proxies."""

import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from socketserver import TCPServer
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_HOP_BY_HOP = ("connection", "keep-alive", "transfer-encoding", "content-length")
_PIECE_BYTES = 64 * 1024


def unchanged(set_cookies: list[str]) -> list[str]:
    return set_cookies


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """What a gateway does. The defaults are correct."""

    #: The value that it sets in X-Forwarded-Proto; None leaves the header alone.
    sets_proto: str | None = "https"
    #: Whether it adds the browser's address to X-Forwarded-For.
    adds_address: bool = True
    #: The Host header that it sets; None passes the browser's on.
    host: str | None = None
    #: How it changes the Set-Cookie headers of a response.
    set_cookies: Callable[[list[str]], list[str]] = unchanged
    #: The largest header line of a request, and the largest head of a response, in bytes.
    largest_request_line: int = 1_000_000
    largest_response_head: int = 1_000_000
    #: Whether it reads a whole response before it sends the first byte.
    buffers: bool = False
    #: Whether it ends a response properly that the site breaks off.
    hides_cuts: bool = False
    #: Whether it stores each response to a GET, and sends it from then on.
    caches: bool = False
    #: The status of its own response; 0 asks the site.
    responds: int = 0
    #: Headers of responses that it replaces or, with None, removes.
    replaces: Mapping[str, str | None] = field(default_factory=dict)


class Gateway:
    """Listens on a free port in front of the site at `upstream`, as a context manager; over TLS with a certificate."""

    def __init__(self, upstream: str, behaviour: Behaviour | None = None, *, certificate: Path | None = None) -> None:
        self._server = _Server(urlsplit(upstream).netloc, behaviour or Behaviour(), certificate)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        scheme = "https" if certificate else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "Gateway":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = False

    def __init__(self, upstream: str, behaviour: Behaviour, certificate: Path | None) -> None:
        self.upstream = upstream
        self.behaviour = behaviour
        #: What the cache has, by path: status, headers and body.
        self.stored: dict[str, tuple[int, list[tuple[str, str]], bytes]] = {}
        super().__init__(("127.0.0.1", 0), _Handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            # Each connection's thread makes its handshake. Here it would block all other connections.
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def server_bind(self) -> None:
        """Without a DNS query for the own name."""
        TCPServer.server_bind(self)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Silent: browsers may close their connections."""


class _Handler(BaseHTTPRequestHandler):
    timeout = 30.0
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        behaviour = self.server.behaviour
        if behaviour.responds:
            self._refuse(behaviour.responds)
            return
        if any(len(f"{name}: {value}") > behaviour.largest_request_line for name, value in self.headers.items()):
            self._refuse(400)
            return
        if self.path in self.server.stored:
            self._send_stored()
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        upstream = http.client.HTTPConnection(self.server.upstream, timeout=30)
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self._request_headers():
                upstream.putheader(name, value)
            upstream.endheaders(body)
            self._pass_on(upstream.getresponse())
        finally:
            upstream.close()

    do_POST = do_GET

    def _request_headers(self) -> list[tuple[str, str]]:
        behaviour = self.server.behaviour
        own = {"host"}
        headers = [("Host", behaviour.host or self.headers["Host"])]
        if behaviour.sets_proto:
            own.add("x-forwarded-proto")
            headers.append(("X-Forwarded-Proto", behaviour.sets_proto))
        if behaviour.adds_address:
            own.add("x-forwarded-for")
            seen = [*self.headers.get_all("X-Forwarded-For", []), self.client_address[0]]
            headers.append(("X-Forwarded-For", ", ".join(seen)))
        return headers + [(name, value) for name, value in self.headers.items() if name.lower() not in own]

    def _pass_on(self, answer: http.client.HTTPResponse) -> None:
        behaviour = self.server.behaviour
        replaced = {name.lower() for name in behaviour.replaces}
        headers = [
            (name, value)
            for name, value in answer.getheaders()
            if name.lower() not in (*_HOP_BY_HOP, "set-cookie", *replaced)
        ]
        headers += [("Set-Cookie", line) for line in behaviour.set_cookies(answer.headers.get_all("Set-Cookie", []))]
        headers += [(name, value) for name, value in behaviour.replaces.items() if value is not None]
        if sum(len(f"{name}: {value}\r\n") for name, value in headers) > behaviour.largest_response_head:
            self._refuse(502)
            return
        if behaviour.caches and self.command == "GET":
            self.server.stored[self.path] = answer.status, headers, answer.read()
            self._send_stored()
            return
        pieces = [answer.read()] if behaviour.buffers else self._pieces(answer)
        self._send_head(answer.status, [*headers, ("Transfer-Encoding", "chunked")])
        for piece in pieces:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def _pieces(self, answer: http.client.HTTPResponse) -> Iterator[bytes]:
        with suppress(*([http.client.IncompleteRead] if self.server.behaviour.hides_cuts else [])):
            yield from iter(lambda: answer.read1(_PIECE_BYTES), b"")

    def _send_stored(self) -> None:
        status, headers, body = self.server.stored[self.path]
        self._send_head(status, [*headers, ("Age", "0"), ("Content-Length", str(len(body)))])
        self.wfile.write(body)

    def _send_head(self, status: int, headers: list[tuple[str, str]]) -> None:
        self.send_response_only(status)
        for name, value in [*headers, ("Connection", "close")]:
            self.send_header(name, value)
        self.end_headers()

    def _refuse(self, status: int) -> None:
        """Respond with an error page."""
        self._send_head(status, [("Content-Type", "text/html")])
        self.wfile.write(b"<h1>The gateway's own page</h1>")
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


def make_certificate(path: Path, *, days: float = 90) -> Path:
    """A self-signed certificate for 127.0.0.1 and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path
