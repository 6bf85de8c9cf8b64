"""What pages are measured on: the site behind a server with one worker, an API that answers at once, and readers."""

import asyncio
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Protocol

from tests.load.browser import PAGE, Browser
from tests.load.processes import free_port, stop_process, wait_until
from tests.load.site import PROJECT, Site


class GranianSite(Site):
    """The site behind granian, in its WSGI mode."""

    def command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "granian", "config.wsgi:application", "--interface", "wsgi", "--no-ws"),
            *("--host", "127.0.0.1", "--port", str(self.port)),
            *("--workers", str(self._workers), "--blocking-threads", str(self._threads)),
        ]


SERVERS: dict[str, type[Site]] = {"gunicorn gthread": Site, "granian": GranianSite}

#: A page with a form sets the CSRF token again, to the same value.
_SET_COOKIE = re.compile(rb"\r\nset-cookie: *(?:__host-)?([^=]+)=")


@contextmanager
def quick_api(seconds: float = 0.0, *, name: str = "quick_api") -> Iterator[str]:
    """`tests.benchmarks.quick_api` in a process of its own, which waits for so long before each answer: its URL."""
    port = free_port()
    command = [sys.executable, "-m", f"tests.benchmarks.{name}", str(port), str(seconds)]
    process = subprocess.Popen(command, cwd=PROJECT)
    try:
        wait_until(lambda: _is_listening(port), "the API listens")
        yield f"http://127.0.0.1:{port}"
    finally:
        stop_process(process)


def _is_listening(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def cpu_seconds(pid: int) -> float:
    """What a process and those that it started have taken of the processors so far, to the nanosecond.

    It reads each one's CPU-time clock, which has the number that clock_getcpuclockid(3) would say.
    """
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return time.clock_gettime(~pid << 3 | 2) + sum(cpu_seconds(int(child)) for child in children)


def signed_in(port: int) -> Browser:
    """A browser that has signed in and read one page. That page shows a message, and deletes the message's cookie."""
    browser = Browser(port)
    browser.sign_in()
    assert browser.open(PAGE).status == 200
    return browser


class Server(Protocol):
    """A server that is running."""

    @property
    def pid(self) -> int: ...

    @property
    def port(self) -> int: ...


def cpu_per_page(
    site: Server, path: str, cookie: str, *, connections: int, pages: int, headers: Mapping[str, str] | None = None
) -> float:
    """CPU seconds that the server's processes spend on one page, read over so many kept-alive connections at once."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in {"Cookie": cookie, **(headers or {})}.items())
    before = cpu_seconds(site.pid)
    asyncio.run(_read(site.port, path, lines, connections, pages))
    return (cpu_seconds(site.pid) - before) / pages


async def _read(port: int, path: str, lines: str, connections: int, pages: int) -> None:
    """As many readers as connections. Each asks for the next page as soon as it has one, until all are read."""
    left = iter(range(pages))
    await asyncio.gather(*(_read_some(port, path, lines, left) for _ in range(connections)))


async def _read_some(port: int, path: str, lines: str, left: Iterator[int]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    headers = f"Host: 127.0.0.1:{port}\r\nAccept: text/html\r\nUser-Agent: bench\r\n{lines}"
    request = f"GET {path} HTTP/1.1\r\n{headers}\r\n".encode()
    with closing(writer):
        for _ in left:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if not head.startswith(b"http/1.1 200 "):
                raise RuntimeError(f"{path}: {head[:80]!r}")
            if changed := {name.decode() for name in _SET_COOKIE.findall(head)} - {"csrftoken"}:
                raise RuntimeError(f"{path} changes the cookie {min(changed)}: a browser's next request would differ")
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
    await writer.wait_closed()
