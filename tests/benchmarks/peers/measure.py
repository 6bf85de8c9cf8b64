"""What a page costs beside Express with iron-session, which opens a sealed cookie too, calls the same API, and does not
refresh tokens.
"""

import json
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.quick_api import access_token
from tests.benchmarks.report import Cell, Ratio, Report, Table, alternate, ratio
from tests.benchmarks.servers import SERVERS, cpu_per_page, quick_api, signed_in
from tests.environment import clean_environment
from tests.load.browser import PAGE
from tests.load.processes import stop_process
from tests.real_apis.npm import CannotInstall, install

_FOLDER = Path(__file__).parent
CONNECTIONS = 8
THREADS = 4
#: How often all servers are started anew; see `tests.benchmarks.page`.
STARTS = 4
WARM_UP_PAGES = 300
#: V8 compiles the program anew for so long.
WARM_UP_PAGES_OF_EXPRESS = 4000
PAGES = {
    "small page": "/small/",
    "proxied call": "/protected/api/protected-route",
    "protected page": PAGE,
    "home page": "/",
    "home page, signed out": "/",
    "empty view": "/empty/",
}


class Express(NamedTuple):
    """The program, and the cookie of its user."""

    pid: int
    port: int
    cookie: str


def measure_peers(report: Report, rounds: int, pages: int) -> None:
    """CPU time of each page, as a multiple of Express's small page and of this site's small page."""
    try:
        packages = install(_FOLDER, "peers")
    except CannotInstall as error:
        print(f"peers: skipped, {error}\n", flush=True)
        return
    figures: dict[str, list[float]] = defaultdict(list)
    for _ in range(STARTS):
        for name, found in _measure(packages, rounds, pages).items():
            figures[name] += found
    rows: list[list[Cell | Ratio]] = []
    for server in SERVERS:
        small = figures[f"{server}: small page"]
        for name in PAGES:
            found = figures[f"{server}: {name}"]
            rows.append([f"{server}: {name}", ratio(found, to=figures["Express"]), ratio(found, to=small)])
    report.add(
        Table(
            "peers",
            "CPU time of a page, as a multiple of Express with iron-session, and of this site's small page",
            ("page", "by Express's small page", "by the small page"),
            rows,
            f"{CONNECTIONS} connections, one worker of {THREADS} threads; {STARTS} times {rounds} alternating rounds of"
            f" {pages} pages; medians and quartiles.",
        )
    )


def _measure(packages: Path, rounds: int, pages: int) -> dict[str, list[float]]:
    """CPU seconds a page, by name, of servers that are started for it."""
    cpu = partial(cpu_per_page, connections=CONNECTIONS)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        api_url = stack.enter_context(quick_api())
        express = stack.enter_context(_express(packages, api_url))
        measures = {"Express": partial(cpu, express, PAGES["small page"], express.cookie)}
        measures["Express"](pages=WARM_UP_PAGES_OF_EXPRESS)
        cookie = ""
        for server, kind in SERVERS.items():
            site = kind(
                database_url=f"sqlite:///{folder}/db.sqlite3",
                api_url=api_url,
                workers=1,
                threads=THREADS,
                environment={"DJANGO_SETTINGS_MODULE": "tests.benchmarks.peers.settings", "LOG_LEVEL": "WARNING"},
            )
            if not cookie:
                site.migrate()
            stack.enter_context(site)
            if not cookie:
                cookie = signed_in(site.port).jar.header(PAGE)
            for name, path in PAGES.items():
                measures[f"{server}: {name}"] = partial(cpu, site, path, "" if "signed out" in name else cookie)
        for measure in measures.values():
            measure(pages=WARM_UP_PAGES)
        return alternate({name: partial(measure, pages=pages) for name, measure in measures.items()}, rounds)


@contextmanager
def _express(packages: Path, api_url: str) -> Iterator[Express]:
    """The program in a process of its own, with a cookie that holds what the site's holds."""
    session = {"user": {"id": 7, "email": "ada@example.com"}, "accessToken": access_token(), "refreshToken": "0" * 250}
    command = ["node", str(_FOLDER / "express.mjs"), str(packages), api_url, json.dumps(session)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=clean_environment(NODE_ENV="production")
    ) as process:
        try:
            assert process.stdout
            yield Express(pid=process.pid, **json.loads(process.stdout.readline()))
        finally:
            stop_process(process)
