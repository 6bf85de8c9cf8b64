"""HTTP/1.1 on one connection: reads requests, sends answers, and breaks the connection where a fault says so."""

import socket
import struct
import time
from contextlib import suppress
from email.utils import formatdate
from http.client import responses
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.demo_api.faults import NO_FAULT, Fault
from tests.demo_api.listener import ApiServer
from tests.demo_api.messages import Answer, Call, Problem, Request

MAX_BODY_BYTES = 64 * 1024
IDLE_SECONDS = 120.0
MAX_DRAIN_BYTES = 2**24
DRAIN_SECONDS = 1.0


class ApiHandler(BaseHTTPRequestHandler):
    """One connection, in a thread of its own."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = IDLE_SECONDS
    server: ApiServer

    def do_GET(self) -> None:
        arrived = time.monotonic()
        try:
            request = self._read_request()
        except Problem as problem:
            self._refuse(problem, arrived)
            return
        fault = self.server.faults.take(request.method, request.path)
        answer = self._process(request, fault)
        self._record(request, answer, fault, arrived)
        if answer is None or fault.name == "lose_answer":
            self._reset()
        else:
            self._send(answer, fault)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = do_GET

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """The standard library's own complaints (no HTTP, a header too long) in our words."""
        self.close_connection = True
        self._send(Problem(int(code), message or responses.get(code, "Error")).answer)
        self._drain()

    def log_message(self, format: str, *args: Any) -> None:
        """Silent: `_record` writes the log, without the query."""

    def _process(self, request: Request, fault: Fault) -> Answer | None:
        """The answer, or None when there is none to come: the connection is to break, or the API has gone away."""
        server = self.server
        fault.wait_before(server.closing)
        if fault.name == "reset" or server.closing.is_set():
            return None
        answer = fault.reply(request) if fault.reply else server.answer(request)
        if fault.change:
            answer = fault.change(answer)
        if not fault.reply and server.processing_seconds and not request.path.startswith("/auth/"):
            server.closing.wait(server.processing_seconds)
        fault.wait_after(server.closing)
        return None if server.closing.is_set() else answer

    def _read_request(self) -> Request:
        lengths = self.headers.get_all("Content-Length", [])
        if "Transfer-Encoding" in self.headers:
            raise Problem(411, "A body needs a Content-Length here.")
        if len(lengths) > 1 or any(not (text.isascii() and text.isdigit()) for text in lengths):
            raise Problem(400, "This Content-Length makes no sense.")
        length = lengths[0].lstrip("0") if lengths else ""
        if len(length) > len(str(MAX_BODY_BYTES)) or int(length or 0) > MAX_BODY_BYTES:
            raise Problem(413, f"The body is longer than {MAX_BODY_BYTES} bytes.")
        body = self._read_body(int(length or 0))
        path, _, query = self.path.partition("?")
        return Request(method=self.command, path=path, query=query, headers=self._read_headers(), body=body)

    def _read_body(self, length: int) -> bytes:
        try:
            body = self.rfile.read(length) if length else b""
        except TimeoutError as error:
            raise Problem(408, "The body did not arrive in time.") from error
        if len(body) < length:
            raise Problem(400, "The body is shorter than its Content-Length.")
        return body

    def _read_headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        for name, value in self.headers.items():
            known = headers.get(name.lower())
            headers[name.lower()] = str(value) if known is None else f"{known}, {value}"
        return headers

    def _refuse(self, problem: Problem, arrived: float) -> None:
        """Answer a request whose body was not read: the connection is of no more use."""
        self.close_connection = True
        path, _, query = self.path.partition("?")
        request = Request(method=self.command, path=path, query=query, headers=self._read_headers())
        self._record(request, problem.answer, NO_FAULT, arrived)
        self._send(problem.answer)
        self._drain()

    def _record(self, request: Request, answer: Answer | None, fault: Fault, arrived: float) -> None:
        call = Call(
            method=request.method,
            path=request.path,
            status=answer.status if answer else 0,
            headers=dict(request.headers),
            body=request.body,
            at=time.monotonic(),
            fault=fault.name or None,
            arrived=arrived,
            query=request.query,
        )
        self.server.record(call)

    def _send(self, answer: Answer, fault: Fault = NO_FAULT) -> None:
        interval = fault.seconds if fault.name == "dribble" else None
        bodiless = self.command == "HEAD" or answer.status < 200 or answer.status in (204, 304)
        chunked = answer.stream is not None and self.request_version == "HTTP/1.1"
        if answer.stream is not None and not chunked:
            self.close_connection = True  # HTTP/1.0 knows no chunks: the end of the connection is the end of the body
        head = self._write_head(answer, chunked=chunked, bodiless=bodiless)
        if bodiless or answer.stream is None:
            self._write(head + (b"" if bodiless else answer.body), interval)
            return
        self._write(head, interval)
        fault.wait_in_body(self.server.closing)
        for piece in answer.stream:
            self._write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece, interval)
        if chunked:
            self._write(b"0\r\n\r\n", interval)

    def _write_head(self, answer: Answer, *, chunked: bool, bodiless: bool) -> bytes:
        headers = {"Date": formatdate(self.server.now(), usegmt=True), "Server": "demo-api"}
        if chunked:
            headers["Transfer-Encoding"] = "chunked"
        elif answer.stream is None and not bodiless:
            headers["Content-Length"] = str(len(answer.body))
        if self.close_connection:
            headers["Connection"] = "close"
        headers.update(answer.headers)
        self.close_connection = headers.get("Connection", "").lower() == "close"
        lines = [f"HTTP/1.1 {answer.status} {responses.get(answer.status, '')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"Set-Cookie: {cookie}" for cookie in answer.cookies]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _write(self, content: bytes, interval: float | None) -> None:
        if interval is None:
            self.wfile.write(content)
            return
        for position in range(len(content)):
            self.wfile.write(content[position : position + 1])
            if self.server.closing.wait(interval):
                raise ConnectionAbortedError("the API went away")

    def _drain(self) -> None:
        """Read what is still coming, for a while: closing with unread bytes breaks the connection under our answer."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(DRAIN_SECONDS)
            left = MAX_DRAIN_BYTES
            while left > 0 and (piece := self.rfile.read1(left)):
                left -= len(piece)

    def _reset(self) -> None:
        """Break the connection: with a linger time of zero, closing sends RST instead of FIN."""
        self.close_connection = True
        with suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.rfile.close()
            self.connection.close()
