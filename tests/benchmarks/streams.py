"""`streams`: the first byte, and the memory that a large download takes. `open_streams` has the event streams.

One worker, behind each of the servers; a browser of this process at the other end of the sockets.
"""

import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from urllib.parse import urlsplit

from tests.benchmarks.api_process import ApiProcess
from tests.benchmarks.processes import forget_peak, memory, peak_memory
from tests.benchmarks.report import Cell, Ratio, Report, Table, alternate, ratio
from tests.benchmarks.servers import SERVERS
from tests.load.browser import Browser
from tests.load.processes import wait_until
from tests.load.site import Site

CALL_SECONDS = 0.1
DOWNLOADS = {
    "/protected/download/": "/protected/download/?bytes={size}",
    "/protected/api/": "/protected/api/protected-route/export.csv?bytes={size}",
}
MEGABYTE = 2**20
#: Long enough for a server that goes on reading to fill hundreds of megabytes.
STALL_SECONDS = 5.0
FEW_THREADS = 8
#: One event at once, then one a minute for ten minutes, and signs of life in between.
EVENTS = "/protected/events/?rows=10&delay=60"


class Reader:
    """One GET over a connection of its own, whose answer is read as fast or as slowly as one likes."""

    def __init__(self, port: int, path: str, *headers: str) -> None:
        self.body = b""
        self._started = time.perf_counter()
        self._connection = socket.create_connection(("127.0.0.1", port))
        lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: close", *headers, "", ""]
        self._connection.sendall("\r\n".join(lines).encode())

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def wait_for(self, words: bytes = b"", *, seconds: float = 60.0) -> float:
        """Seconds from sending to the piece of the body that ends with `words`, or to its first byte.

        Raises TimeoutError, or AssertionError where the answer is not what was asked for.
        """
        self._connection.settimeout(seconds)
        head, end, content = self.body.partition(b"\r\n\r\n")
        while not end or not content or words not in content:
            self._receive()
            head, end, content = self.body.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head[:80]
        return time.perf_counter() - self._started

    def read_to_the_end(self) -> int:
        """The bytes that came, this far and from now on."""
        self._connection.settimeout(60.0)
        count = len(self.body)
        while piece := self._connection.recv(256 * 1024):
            count += len(piece)
        return count

    def _receive(self) -> None:
        piece = self._connection.recv(65536)
        assert piece, f"the answer ended: {self.body[:80]!r}"
        self.body += piece


def measure_streams(report: Report, rounds: int, megabytes: int) -> None:
    """The tables: first bytes, and memory for a download of so many megabytes."""
    first: list[list[Cell | Ratio]] = []
    downloads: list[list[Cell | Ratio]] = []
    for name in SERVERS:
        with tempfile.TemporaryDirectory() as folder:
            database = f"sqlite:///{folder}/streams.sqlite3"
            with _site(name, database, FEW_THREADS, call_seconds=CALL_SECONDS) as (site, browser, api):
                first += [[f"{name}: {what}", found] for what, found in _first_bytes(site, browser, api, rounds)]
            with _site(name, database, FEW_THREADS) as (site, browser, _):
                downloads += [
                    [f"{name}: {what}", *_megabytes_for(site, browser, path, megabytes)]
                    for what, path in DOWNLOADS.items()
                ]
    report.add(
        Table(
            "first bytes",
            "Time to the first byte, as a multiple of that of the API's own answer",
            ["what", "ratio"],
            first,
            note=f"The API takes {CALL_SECONDS * 1000:g} ms for an answer; {rounds} alternating rounds; medians, with"
            " quartiles.",
        )
    )
    report.add(
        Table(
            "downloads",
            f"Growth of the worker's memory at its highest, in MB, for a download of {megabytes:,} MB",
            ["what", "read at once", "reader stalls"],
            downloads,
            note=f"After one of 1 MB. Stalls: reads nothing for {STALL_SECONDS:g} s. Once each.",
        )
    )


def _first_bytes(site: Site, browser: Browser, api: ApiProcess, rounds: int) -> Iterator[tuple[str, Ratio]]:
    page = "/protected/stream/?rows=3&delay=0"
    token = api.sign_in()
    api_port = urlsplit(api.url).port
    assert api_port is not None

    def time_to(path: str, words: bytes = b"") -> float:
        with Reader(site.port, path, f"Cookie: {browser.jar.header()}") as reader:
            return reader.wait_for(words)

    def time_to_api() -> float:
        with Reader(api_port, "/protected-route", f"Authorization: Bearer {token}") as reader:
            return reader.wait_for()

    measures: dict[str, Callable[[], float]] = {
        "API": time_to_api,
        "streamed page": partial(time_to, page),
        "streamed page, its first row": partial(time_to, page, b"<li><span"),
        "event stream, its first event": partial(time_to, EVENTS, b"data:"),
        **{what: partial(time_to, path.format(size=MEGABYTE)) for what, path in DOWNLOADS.items()},
    }
    alternate(measures, 1)
    figures = alternate(measures, rounds)
    for name in list(measures)[1:]:
        yield name, ratio(figures[name], figures["API"])


def _megabytes_for(site: Site, browser: Browser, path: str, megabytes: int) -> tuple[float, float]:
    """How much more memory the worker has at its highest: for a reader that reads, and for one that stalls."""
    [worker] = site.workers
    cookie = f"Cookie: {browser.jar.header()}"
    with Reader(site.port, path.format(size=MEGABYTE), cookie) as reader:
        reader.read_to_the_end()
    grown = []
    for stalls in (False, True):
        forget_peak(worker)
        before = memory(worker)
        with Reader(site.port, path.format(size=megabytes * MEGABYTE), cookie) as reader:
            reader.wait_for()
            if stalls:
                time.sleep(STALL_SECONDS)
            else:
                assert reader.read_to_the_end() >= megabytes * MEGABYTE, "the download broke off"
        grown.append((peak_memory(worker) - before) / MEGABYTE)
    return grown[0], grown[1]


@contextmanager
def _site(
    server: str, database: str, thread_count: int, *, call_seconds: float = 0.0
) -> Iterator[tuple[Site, Browser, ApiProcess]]:
    """One worker, somebody who has signed in, and the API."""
    with ApiProcess(call_seconds=call_seconds) as api:
        site = SERVERS[server](
            database_url=database,
            api_url=api.url,
            workers=1,
            threads=thread_count,
            environment={"LOG_LEVEL": "WARNING", "API_READ_TIMEOUT": "60"},
        )
        site.migrate()
        with site:
            browser = Browser(site.port)
            browser.sign_in()
            wait_until(lambda: browser.open().status == 200, "the page is there")
            yield site, browser, api
