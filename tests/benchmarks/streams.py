"""`streams`: the first byte, the memory that a large download takes, and how many event streams one worker holds open.

One worker, behind each of the servers; a browser of this process at the other end of the sockets.
"""

import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from urllib.parse import urlsplit

from tests.benchmarks.api_process import ApiProcess
from tests.benchmarks.processes import forget_peak, memory, peak_memory, threads
from tests.benchmarks.report import Cell, Ratio, Report, Table, alternate, ratio
from tests.benchmarks.servers import SERVERS
from tests.load.browser import Browser
from tests.load.postgres import PostgresServer, has_postgres
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
FEW_THREADS, MANY_THREADS = 8, 400
#: Somebody who has no answer by then has to wait for one who goes.
ANSWER_SECONDS = 5.0
#: One event at once, then one a minute for ten minutes, and signs of life in between.
EVENTS = "/protected/events/?rows=10&delay=60"
PAGE = "/protected/"


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
    """The tables: first bytes, memory for a download of so many megabytes, and open event streams."""
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
    if has_postgres():
        report.add(_open_streams())


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


def _open_streams() -> Table:
    rows: list[list[Cell | Ratio]] = []
    with PostgresServer(connections=2 * MANY_THREADS) as postgres:
        for name in SERVERS:
            for count in (FEW_THREADS, MANY_THREADS):
                database = postgres.create_database(f"{name}{count}".replace(" ", ""))
                with _site(name, database, count) as (site, browser, _):
                    rows.append([f"{name}, {count} threads", *_open_as_many(site, browser, postgres, count)])
    return Table(
        "event streams",
        "Event streams that are open at the same time in one worker, and what each one holds there",
        ["server", "asked for", "open", "page meanwhile", "threads", "KB", "PostgreSQL connections"],
        rows,
        note=f"Open: had an event within {ANSWER_SECONDS:g} s. The page is asked for when all but two threads hold one,"
        " as a multiple of its time before. What is held: for each stream, on the average.",
    )


def _open_as_many(
    site: Site, browser: Browser, postgres: PostgresServer, thread_count: int
) -> tuple[int, int, float, float, float, float]:
    [worker] = site.workers
    cookie = f"Cookie: {browser.jar.header()}"

    def open_page() -> float:
        with Reader(site.port, PAGE, cookie) as reader:
            return reader.wait_for()

    before = [open_page() for _ in range(20)]
    held_before = (threads(worker), memory(worker), _connections(postgres))
    with ExitStack() as stack:

        def open_stream() -> Reader:
            return stack.enter_context(Reader(site.port, EVENTS, cookie))

        most = thread_count - 2
        for reader in [open_stream() for _ in range(most)]:
            reader.wait_for(b"data:")
        meanwhile = [open_page() for _ in range(20)]
        held = (threads(worker), memory(worker), _connections(postgres))
        more = [open_stream() for _ in range(6)]
        opened = most + sum(_has_event(reader, time.monotonic() + ANSWER_SECONDS) for reader in more)
    grown = [(now - then) / most for now, then in zip(held, held_before, strict=True)]
    return most + len(more), opened, sorted(meanwhile)[10] / sorted(before)[10], grown[0], grown[1] / 1024, grown[2]


def _has_event(reader: Reader, give_up_at: float) -> bool:
    with suppress(TimeoutError):
        reader.wait_for(b"data:", seconds=max(0.01, give_up_at - time.monotonic()))
        return True
    return False


def _connections(postgres: PostgresServer) -> int:
    with postgres.connect() as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        ).fetchone()
    assert row is not None
    return int(row[0])


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
