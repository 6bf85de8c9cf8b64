"""The doctor's request over HTTP/2, to a server that sends prepared frames."""

import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from accounts.doctor.http2 import post_ends_properly

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
STREAM_1 = (1).to_bytes(4)
STATUS_200 = b"\x88"
PIECE = b"<p>piece 1</p>"
#: Before the last frame of the stream.
BEGINNING = [(SETTINGS, 0, b""), (PING, 0, b"12345678"), (HEADERS, 4, STATUS_200), (DATA, 0, PIECE)]


def frame(kind: int, flags: int, payload: bytes) -> bytes:
    stream = bytes(4) if kind in (SETTINGS, PING, GOAWAY) else STREAM_1
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream + payload


def read_frame(received: BinaryIO) -> tuple[int, int, bytes]:
    head = received.read(9)
    return head[3], head[4], received.read(int.from_bytes(head[:3]))


def integer(received: bytes) -> tuple[int, bytes]:
    """RFC 7541 section 5.1."""
    number, rest = received[0], received[1:]
    if number < 127:
        return number, rest
    for place in range(5):
        octet, rest = rest[0], rest[1:]
        number += (octet & 127) << 7 * place
        if octet < 128:
            break
    return number, rest


def fields(received: bytes) -> Iterator[tuple[str, str]]:
    while received:
        assert received[0] == 0
        length, received = integer(received[1:])
        name, (value, rest) = received[:length], integer(received[length:])
        yield name.decode(), rest[:value].decode()
        received = rest[value:]


@contextmanager
def server(
    certificate: Path, frames: list[tuple[int, int, bytes]], protocol: str = "h2"
) -> Iterator[tuple[str, list[bytes]]]:
    """Its address, and what it received after the headers: acknowledgements. The first item are the headers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.set_alpn_protocols([protocol])
    seen: list[bytes] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, context.wrap_socket(connection, server_side=True) as encrypted:
            if protocol == "h2":
                with encrypted.makefile("rb") as received:
                    assert received.read(24) == b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
                    assert read_frame(received) == (SETTINGS, 0, b"")
                    seen.append(read_frame(received)[2])
                    encrypted.sendall(b"".join(frame(*parts) for parts in frames))
                    seen.extend(frame(*read_frame(received)) for _ in range(2))

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as thread:
        served = thread.submit(serve)
        yield f"https://127.0.0.1:{listener.getsockname()[1]}", seen
        served.result()


@pytest.mark.parametrize(
    ("last", "ends"),
    [
        ([(DATA, 1, b"")], True),
        ([(HEADERS, 5, b"")], True),
        ([(RST_STREAM, 0, bytes(4))], False),
        ([(GOAWAY, 0, bytes(8))], False),
        ([], False),
    ],
    ids=["empty data", "trailers", "reset", "the connection ends", "closed"],
)
def test_how_a_stream_ends(trusted: Path, last: list[tuple[int, int, bytes]], ends: bool) -> None:
    headers = {"Doctor-Ticket": "t" * 400, "Short": "x"}
    with server(trusted, [*BEGINNING, *last]) as (url, seen):
        assert post_ends_properly(url, "/here/", headers) is ends

    assert [*fields(seen[0])] == [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", url.removeprefix("https://")),
        (":path", "/here/"),
        ("content-length", "0"),
        ("doctor-ticket", "t" * 400),
        ("short", "x"),
    ]
    assert seen[1:] == [frame(SETTINGS, 1, b""), frame(PING, 1, b"12345678")]


def test_a_server_without_http_2(trusted: Path) -> None:
    with server(trusted, [], "http/1.1") as (url, _):
        assert post_ends_properly(url, "/", {}) is None
