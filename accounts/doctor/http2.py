"""One request over HTTP/2 (RFC 9113), which browsers use and `requests` does not know."""

import socket
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

from accounts.doctor.network import CONNECT_SECONDS, READ_SECONDS, host_and_port, trusted_authorities

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS, _PING = 0, 1, 4, 6
_RST_STREAM, _GOAWAY = 3, 7
_END_STREAM = _ACK = 1
_END_HEADERS = 4
_STREAM = 1


def post_ends_properly(url: str, path: str, headers: Mapping[str, str]) -> bool | None:
    """Whether the stream of a POST without a body ends, and does not break off; None if the server has no HTTP/2.

    Raises OSError.
    """
    context = ssl.create_default_context(cafile=trusted_authorities())
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(host_and_port(url), timeout=CONNECT_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=urlsplit(url).hostname) as connection,
    ):
        if connection.selected_alpn_protocol() != "h2":
            return None
        connection.settimeout(READ_SECONDS)
        pseudo = {":method": "POST", ":scheme": "https", ":authority": urlsplit(url).netloc, ":path": path}
        fields = b"".join(map(_field, [*pseudo.items(), ("content-length", "0"), *headers.items()]))
        request = _frame(_HEADERS, _END_HEADERS | _END_STREAM, _STREAM, fields)
        connection.sendall(_PREFACE + _frame(_SETTINGS, 0, 0, b"") + request)
        with connection.makefile("rb") as received:
            while len(head := received.read(9)) == 9:
                kind, flags = head[3:5]
                payload = received.read(int.from_bytes(head[:3]))
                if kind in (_DATA, _HEADERS) and flags & _END_STREAM:
                    return True
                if kind in (_SETTINGS, _PING) and not flags & _ACK:
                    connection.sendall(_frame(kind, _ACK, 0, payload if kind == _PING else b""))
                if kind in (_RST_STREAM, _GOAWAY):
                    break
    return False


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def _field(field: tuple[str, str]) -> bytes:
    """A header field that is not indexed (RFC 7541 section 6.2.2)."""
    name, value = field[0].lower().encode(), field[1].encode()
    return b"\0" + _length(len(name)) + name + _length(len(value)) + value


def _length(number: int) -> bytes:
    """An integer with a prefix of 7 bits (RFC 7541 section 5.1)."""
    if number < 127:
        return bytes([number])
    number, octets = number - 127, [127]
    while number >= 128:
        number, octets = number >> 7, [*octets, number & 127 | 128]
    return bytes([*octets, number])
