"""HTTPS in front of the site, as a load balancer has it, with a certificate of a test CA; and networks' bad days."""

import itertools
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPException, HTTPResponse
from ipaddress import ip_address
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.demo_api.faults import Fault, FaultPlan
from tests.demo_api.handler import ApiHandler
from tests.demo_api.listener import ApiServer
from tests.demo_api.messages import Answer, Call, Request

PATIENCE_SECONDS = 60.0
_PIECE_BYTES = 64 * 1024
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}
_LOCAL = ip_address("127.0.0.1")
_BAD_GATEWAY = Answer(502, b"<h1>Bad gateway</h1>", {"Content-Type": "text/html"})


class TlsFront:
    """Passes HTTPS requests on to the sites' ports in turn, as a context manager. The site needs TRUSTED_PROXY_COUNT=1.

    `fail` orders faults, as that of the demo API does. `calls` has the requests so far.
    """

    def __init__(self, ports: list[int], certificate: Path) -> None:
        self.ports = ports
        self._turns = itertools.count()
        self._faults = FaultPlan()
        self._calls: list[Call] = []
        self._lock = threading.Lock()
        self._server = ApiServer(
            ("127.0.0.1", 0),
            ApiHandler,
            answer=self._pass_on,
            faults=self._faults,
            record=self._record,
            now=time.time,
        )
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
        # Each connection's thread makes its handshake. Here it would block all other connections.
        self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    @property
    def port(self) -> int:
        return int(self._server.server_port)

    @property
    def calls(self) -> list[Call]:
        with self._lock:
            return list(self._calls)

    def count(self, path: str, status: int | None = None) -> int:
        """How many requests for exactly this path; with `status`, those so answered, faults too."""
        return sum(call.path == path and status in (None, call.status) for call in self.calls)

    def forget_calls(self) -> None:
        with self._lock:
            self._calls.clear()

    def fail(self, method: str, path_prefix: str, fault: Fault, times: int | None = 1) -> None:
        self._faults.add(method, path_prefix, fault, times)

    def heal(self) -> None:
        self._faults.clear()

    def _record(self, call: Call) -> None:
        with self._lock:
            self._calls.append(call)

    def _pass_on(self, request: Request) -> Answer:
        port = self.ports[next(self._turns) % len(self.ports)]
        connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
        target = f"{request.path}?{request.query}" if request.query else request.path
        headers = {
            **{name: value for name, value in request.headers.items() if name not in _HOP_BY_HOP},
            "X-Forwarded-Proto": "https",
            "X-Forwarded-For": "127.0.0.1",
            "Connection": "close",
        }
        try:
            connection.request(request.method, target, request.body, headers)
            response = connection.getresponse()
        except (OSError, HTTPException):
            connection.close()
            return _BAD_GATEWAY
        kept = {
            name: value for name, value in response.getheaders() if name.lower() not in {*_HOP_BY_HOP, "set-cookie"}
        }
        return Answer(
            response.status,
            headers=kept,
            stream=_pieces(connection, response),
            cookies=tuple(response.headers.get_all("Set-Cookie", [])),
        )


def _pieces(connection: HTTPConnection, response: HTTPResponse) -> Iterator[bytes]:
    try:
        yield from iter(lambda: response.read1(_PIECE_BYTES), b"")
    finally:
        connection.close()


@dataclass(frozen=True, slots=True)
class Certificates:
    """The files of a test CA, and of a certificate of its own with the key."""

    authority: Path
    site: Path


def make_certificates(folder: Path, *names: str) -> Certificates:
    """A CA, and a certificate by it for these host names and 127.0.0.1."""
    now = datetime.now(UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Test CA")])
    begun = (
        x509.CertificateBuilder()
        .issuer_name(ca_name)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
    )
    ca = (
        begun.subject_name(ca_name)
        .public_key(ca_key.public_key())
        .serial_number(x509.random_serial_number())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    site = (
        begun.subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .add_extension(x509.SubjectAlternativeName([*map(x509.DNSName, names), x509.IPAddress(_LOCAL)]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    files = Certificates(folder / "authority.pem", folder / "site.pem")
    files.authority.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    files.site.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + site.public_bytes(serialization.Encoding.PEM)
    )
    return files
