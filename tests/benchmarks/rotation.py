"""`rotation`: what requests wait that meet an expired access token together, as a multiple of what the API takes.

One session, whose access token has run out by the clock of the site; so many tabs at once, over the worker processes of
one gunicorn, each with a thread for every tab that it may get; an API that takes its time. The measure is a refresh and
a call, one after the other, sent to the API directly: what one request needs at the very least.
"""

import http.client
import json
import statistics
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from tests.benchmarks.api_process import ApiProcess
from tests.benchmarks.report import Cell, Ratio, Report, Table, alternate, ratio
from tests.benchmarks.servers import signed_in
from tests.demo_api.users import DEMO_USERS
from tests.load.browser import ADA
from tests.load.postgres import PostgresServer, has_postgres
from tests.load.site import Site

HERDS = (1, 20, 200)
WORKERS, THREADS = 4, 50
CALL_SECONDS, REFRESH_SECONDS = 0.1, 0.2
#: Longer than any herd takes, or there would be a second rotation.
ACCESS_SECONDS = 12.0
REFRESH, CALL = "/auth/refresh", "/protected-route"


class Herd:
    """So many tabs of one browser. `measure` waits until its token has run out, and opens them all."""

    def __init__(self, site: Site, api: ApiProcess, tabs: int) -> None:
        self.tabs = tabs
        self._api = api
        self._browser = signed_in(site.port)
        self._expires_at = time.monotonic() + ACCESS_SECONDS
        self.figures: dict[str, list[float]] = {"median": [], "good median": [], "good slowest": []}
        self.calls: list[tuple[int, int]] = []

    def measure(self) -> float:
        """Seconds until the last of them has its page."""
        time.sleep(max(0.0, self._expires_at - time.monotonic()))
        self._api.take_calls()
        latencies = self._open_tabs()
        calls = self._api.take_calls()
        self._expires_at = time.monotonic() + ACCESS_SECONDS
        self.calls.append((calls[REFRESH], calls[CALL]))
        # The browser comes back with its new cookie, which confirms it. What follows needs nothing but pages.
        self._browser.open()
        good = self._open_tabs()
        assert not self._api.take_calls()[REFRESH], "the access token did not last"
        self.figures["median"].append(statistics.median(latencies))
        self.figures["good median"].append(statistics.median(good))
        self.figures["good slowest"].append(max(good))
        return max(latencies)

    def _open_tabs(self) -> list[float]:
        answers = [tab.answer() for tab in self._browser.open_tabs(self.tabs)]
        assert all(answer.status == 200 for answer in answers), "a tab got no page"
        return [answer.seconds for answer in answers]


class Direct:
    """A client that holds the tokens itself."""

    def __init__(self, api: ApiProcess) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(api.url).netloc)
        self._pair = self._send("POST", "/auth/login", {"email": ADA, "password": DEMO_USERS[ADA]})
        self._expires_at = time.monotonic() + ACCESS_SECONDS

    def measure(self) -> float:
        """Seconds for a refresh and a call."""
        time.sleep(max(0.0, self._expires_at - time.monotonic()))
        started = time.perf_counter()
        self._pair = self._send("POST", REFRESH, self._pair)
        self._send("GET", CALL)
        taken = time.perf_counter() - started
        self._expires_at = time.monotonic() + ACCESS_SECONDS
        return taken

    def _send(self, method: str, path: str, body: dict[str, str] | None = None) -> dict[str, Any]:
        headers = {} if body else {"Authorization": f"Bearer {self._pair['accessToken']}"}
        self._connection.request(method, path, json.dumps(body) if body else None, headers)
        answer = self._connection.getresponse()
        content: dict[str, Any] = json.loads(answer.read())
        assert answer.status == 200, f"the API answered {answer.status}"
        return content


def measure_rotation(report: Report, rounds: int) -> None:
    """A table for each database that can be used here."""
    report.add(_table("SQLite", _sqlite(), rounds))
    if has_postgres():
        report.add(_table("PostgreSQL", _postgres(), rounds))


def _table(name: str, database: AbstractContextManager[str], rounds: int) -> Table:
    with ExitStack() as stack:
        url = stack.enter_context(database)
        api = stack.enter_context(
            ApiProcess(access_ttl=ACCESS_SECONDS, call_seconds=CALL_SECONDS, refresh_seconds=REFRESH_SECONDS)
        )
        site = Site(
            database_url=url,
            api_url=api.url,
            workers=WORKERS,
            threads=THREADS,
            environment={"LOG_LEVEL": "WARNING", "API_READ_TIMEOUT": "10"},
        )
        site.migrate()
        stack.enter_context(site)
        herds = [Herd(site, api, tabs) for tabs in HERDS]
        slowest = alternate({"direct": Direct(api).measure, **{str(herd.tabs): herd.measure for herd in herds}}, rounds)
    direct = slowest["direct"]
    rows: list[list[Cell | Ratio]] = [
        [
            herd.tabs,
            ratio(herd.figures["median"], direct),
            ratio(slowest[str(herd.tabs)], direct),
            ratio(herd.figures["good median"], direct),
            ratio(herd.figures["good slowest"], direct),
            max(refreshes for refreshes, _ in herd.calls),
            max(calls for _, calls in herd.calls),
        ]
        for herd in herds
    ]
    return Table(
        f"rotation on {name}",
        f"Requests that wait for one rotation, on {name}: latency as a multiple of a refresh and a call",
        ["requests", "median", "slowest", "good: median", "good: slowest", "refreshes", "calls"],
        rows,
        note=f"gunicorn, {WORKERS} workers of {THREADS} threads; the API takes {REFRESH_SECONDS * 1000:g} ms for a"
        f" refresh and {CALL_SECONDS * 1000:g} ms for a call; {rounds} alternating rounds; medians, with quartiles."
        " Beside it, as many requests at once whose token is good. Refreshes and calls: the most in any round.",
    )


@contextmanager
def _sqlite() -> Iterator[str]:
    with TemporaryDirectory() as folder:
        yield f"sqlite:///{folder}/rotation.sqlite3"


@contextmanager
def _postgres() -> Iterator[str]:
    with PostgresServer(durable=True) as server:
        yield server.url()
