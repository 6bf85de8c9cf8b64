"""`make bench`: what a setting costs, and what a million sessions cost in the admin, as ratios measured in one run.

`check` is API_SESSION_CHECK, in CPU time of the server's process tree: one gunicorn worker, one kept-alive connection,
the demo API elsewhere. Times of day differ from machine to machine and from minute to minute; ratios of alternating
rounds differ little. `admin` is tests/benchmarks/admin_pages.py; the others are the modules of these names.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

import requests

from tests.benchmarks.page import measure_pages
from tests.benchmarks.report import Report
from tests.benchmarks.rotation import measure_rotation
from tests.benchmarks.rows import measure_rows
from tests.benchmarks.streams import measure_streams
from tests.benchmarks.threads import measure_threads
from tests.demo_api.server import DemoApi
from tests.load.browser import Browser
from tests.load.postgres import PostgresServer, has_postgres
from tests.load.site import KEY, Site

WHAT = ("page", "check", "admin", "threads", "rotation", "rows", "streams")


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("what", nargs="?", choices=[*WHAT, "all"], default="all")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--pages", type=int, default=300, help="page, check: pages a round")
    parser.add_argument("--sessions", type=int, default=1_000_000, help="admin, rows: how many are many")
    parser.add_argument("--explain", action="store_true", help="admin: print how the database answers, too")
    parser.add_argument("--seconds", type=float, default=3.0, help="rows: how long a round lasts")
    parser.add_argument("--megabytes", type=int, default=1024, help="streams: how large the download is")
    parser.add_argument(
        "--json", type=Path, help="page, threads, rotation, rows, streams: write the tables to this file, too"
    )
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    if options.what in ("check", "all"):
        print(f"{options.rounds} alternating rounds of {options.pages} pages; medians\n")
        for name, database in databases():
            with database as url:
                ratio, spread = price_of_every_request(url, options.rounds, options.pages)
            print(
                f"API_SESSION_CHECK=every-request on {name}: {ratio:.2f} of the page's CPU time without it ({spread})"
            )
    if options.what in ("admin", "all"):
        for _, database in databases():
            with database as url:
                measure_admin(url, options.rounds, options.sessions, explain=options.explain)
    report = Report()
    if options.what in ("page", "all"):
        measure_pages(report, options.rounds, options.pages)
    if options.what in ("threads", "all"):
        measure_threads(report, options.rounds)
    if options.what in ("rotation", "all"):
        measure_rotation(report, options.rounds)
    if options.what in ("rows", "all"):
        measure_rows(report, options.rounds, options.seconds, options.sessions)
    if options.what in ("streams", "all"):
        measure_streams(report, options.rounds, options.megabytes)
    if options.json is not None:
        report.write(options.json)


def price_of_every_request(database_url: str, rounds: int, pages: int) -> tuple[float, str]:
    """CPU time a page with a look at the record on each request, by that without; and from where to where it varied."""
    with ExitStack() as stack:
        api = stack.enter_context(DemoApi(access_ttl=3600, keep_calls=False))
        sites = [
            stack.enter_context(
                Site(
                    database_url=database_url,
                    api_url=api.url,
                    workers=1,
                    threads=2,
                    environment={"API_SESSION_CHECK": check, "LOG_LEVEL": "WARNING"},
                )
            )
            for check in ("on-rotation", "every-request")
        ]
        sites[0].migrate()
        browser = Browser(sites[0].port)
        browser.sign_in()
        for site in sites:
            cpu_per_page(site, browser, pages)
        ratios = []
        for _ in range(rounds):
            without, with_check = (cpu_per_page(site, browser, pages) for site in sites)
            ratios.append(with_check / without)
    return statistics.median(ratios), f"{min(ratios):.2f} to {max(ratios):.2f}"


def measure_admin(database_url: str, rounds: int, sessions: int, *, explain: bool) -> None:
    """Print the table of the admin's pages. In a process of its own: Django has one set of databases."""
    command = [sys.executable, "-m", "tests.benchmarks.admin_pages", f"--rounds={rounds}", f"--sessions={sessions}"]
    environment = {
        **os.environ,
        "DEBUG": "false",
        "SECRET_KEY": KEY,
        "ALLOWED_HOSTS": "testserver",
        "API_BASE_URL": "http://127.0.0.1:1",
        "SECURE_SSL_REDIRECT": "false",
        "LOG_LEVEL": "ERROR",
        "DATABASE_URL": database_url,
    }
    subprocess.run([*command, *(["--explain"] if explain else [])], env=environment, check=True)


def cpu_per_page(site: Site, browser: Browser, pages: int) -> float:
    """Seconds of CPU time that the site's worker spends on one page."""
    [worker] = site.workers
    with requests.Session() as connection:
        connection.headers["Cookie"] = browser.jar.header()
        before = cpu_seconds(worker)
        for _ in range(pages):
            answer = connection.get(f"{site.url}/protected/", allow_redirects=False, timeout=30)
            assert answer.status_code == 200, answer.status_code
        return (cpu_seconds(worker) - before) / pages


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def databases() -> Iterator[tuple[str, AbstractContextManager[str]]]:
    """The databases that can be measured here."""
    yield "SQLite", sqlite()
    if has_postgres():
        yield "PostgreSQL", postgres()


@contextmanager
def sqlite() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        yield f"sqlite:///{folder}/db.sqlite3"


@contextmanager
def postgres() -> Iterator[str]:
    with PostgresServer() as server:
        yield server.url()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
