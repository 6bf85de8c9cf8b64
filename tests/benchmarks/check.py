"""`check`: what API_SESSION_CHECK=every-request costs a page, in CPU time of the server's processes.

One gunicorn worker, one kept-alive connection; the API answers at once, elsewhere.
"""

import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial

from tests.benchmarks.report import Cell, Ratio, Report, Table, alternate, ratio
from tests.benchmarks.servers import cpu_per_page, quick_api, signed_in
from tests.load.browser import PAGE
from tests.load.postgres import PostgresServer, has_postgres
from tests.load.site import Site


def measure_check(report: Report, rounds: int, pages: int) -> None:
    """The price on each database."""
    rows: list[list[Cell | Ratio]] = []
    for name, database in databases():
        with database as url:
            rows.append([name, price_of_every_request(url, rounds, pages)])
    report.add(
        Table(
            "check",
            "CPU time of a page with API_SESSION_CHECK=every-request, by that without",
            ("database", "ratio"),
            rows,
            f"Medians and quartiles of {rounds} alternating rounds of {pages} pages.",
        )
    )


def price_of_every_request(database_url: str, rounds: int, pages: int) -> Ratio:
    """CPU time a page with a look at the record on each request, by that without."""
    with ExitStack() as stack:
        api_url = stack.enter_context(quick_api())
        sites = {
            check: Site(
                database_url=database_url,
                api_url=api_url,
                workers=1,
                threads=2,
                environment={"API_SESSION_CHECK": check, "LOG_LEVEL": "WARNING"},
            )
            for check in ("on-rotation", "every-request")
        }
        sites["on-rotation"].migrate()
        for site in sites.values():
            stack.enter_context(site)
        cookie = signed_in(sites["on-rotation"].port).jar.header(PAGE)
        measures = {
            check: partial(cpu_per_page, site, PAGE, cookie, connections=1, pages=pages)
            for check, site in sites.items()
        }
        for measure in measures.values():
            measure()
        figures = alternate(measures, rounds)
    return ratio(figures["every-request"], to=figures["on-rotation"])


def databases() -> Iterator[tuple[str, AbstractContextManager[str]]]:
    """The databases that can be measured here."""
    yield "SQLite", _sqlite()
    if has_postgres():
        yield "PostgreSQL", _postgres()


@contextmanager
def _sqlite() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        yield f"sqlite:///{folder}/db.sqlite3"


@contextmanager
def _postgres() -> Iterator[str]:
    with PostgresServer() as server:
        yield server.url()
