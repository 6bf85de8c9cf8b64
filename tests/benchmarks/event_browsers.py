"""Browsers that hold thousands of event streams open, in a process of their own, and count the events by their ids."""

import asyncio
import multiprocessing
import re
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

_ID = re.compile(rb"^id: (\d+)$", re.MULTILINE)
#: So many begin at the same time.
_AT_ONCE = 100
_PATIENCE_SECONDS = 120.0


@dataclass
class Count:
    """What all streams together got so far."""

    #: Streams that got an answer, and of these, how many have ended.
    opened: int = 0
    ended: int = 0
    #: Answers that were no event streams.
    refused: list[str] = field(default_factory=list)
    events: int = 0
    #: Events whose id was not the one after the last.
    out_of_order: int = 0


class EventBrowsers:
    """The process, as a context manager. The streams end with it."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_run, args=(theirs,), daemon=True)

    def __enter__(self) -> "EventBrowsers":
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ours.close()
        self._process.join()

    def open(self, port: int, path: str, cookie: str, streams: int) -> Count:
        """Open more streams. Returns when each has its first line, or was refused."""
        return self._ask(port, path, cookie, streams)

    def count(self) -> Count:
        return self._ask()

    def _ask(self, *order: Any) -> Count:
        self._ours.send(order)
        count: Count = self._ours.recv()
        return count


class _Stream(asyncio.Protocol):
    """One event stream. `first` is done with its first line, or with a refusal."""

    def __init__(self, request: bytes, count: Count) -> None:
        self._request, self._count = request, count
        self._held, self._text = b"", b""
        self._last = 0
        self._has_head = False
        self.first: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._held += data
        if not self._has_head:
            head, end, rest = self._held.partition(b"\r\n\r\n")
            if not end:
                return
            self._held, self._has_head = rest, True
            if not head.startswith(b"HTTP/1.1 200 ") or b"text/event-stream" not in head:
                self._count.refused.append(head.split(b"\r\n")[0].decode())
                self._be_first()
                return
            self._count.opened += 1
        while self._read_chunk():
            pass

    def connection_lost(self, error: Exception | None) -> None:
        self._count.ended += self._has_head
        if not self._has_head:
            self._count.refused.append("no answer")
        self._be_first()

    def _read_chunk(self) -> bool:
        size, end, rest = self._held.partition(b"\r\n")
        length = int(size, 16) if end else 0
        if not length or len(rest) < length + 2:
            return False
        self._text += rest[:length]
        self._held = rest[length + 2 :]
        lines, _, self._text = self._text.rpartition(b"\n")
        for found in _ID.finditer(lines):
            number = int(found[1])
            self._count.events += 1
            self._count.out_of_order += number != self._last + 1
            self._last = number
        self._be_first()
        return True

    def _be_first(self) -> None:
        if not self.first.done():
            self.first.set_result(None)


def _run(orders: Connection) -> None:
    asyncio.run(_obey(orders))


async def _obey(orders: Connection) -> None:
    count = Count()
    loop = asyncio.get_running_loop()
    while True:
        try:
            order = await loop.run_in_executor(None, orders.recv)
        except EOFError:
            return
        if order:
            await _open(count, *order)
        orders.send(count)


async def _open(count: Count, port: int, path: str, cookie: str, streams: int) -> None:
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Accept: text/event-stream",
        f"Cookie: {cookie}",
        "",
        "",
    ]
    request = "\r\n".join(lines).encode()
    places = asyncio.Semaphore(_AT_ONCE)

    async def open_one() -> None:
        async with places:
            _, stream = await asyncio.get_running_loop().create_connection(
                lambda: _Stream(request, count), "127.0.0.1", port
            )
            await asyncio.wait_for(stream.first, _PATIENCE_SECONDS)

    await asyncio.gather(*(open_one() for _ in range(streams)))
