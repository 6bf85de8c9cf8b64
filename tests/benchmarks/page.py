"""What the session layer costs a page: the site's protected page against the same page without the layer.

CPU time of the server's processes per page, one worker, in alternating rounds; the API answers at once, elsewhere.
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import NamedTuple

from tests.benchmarks.quick_api import access_token
from tests.benchmarks.report import Report, Table, alternate, ratio
from tests.benchmarks.servers import SERVERS, cpu_per_page, quick_api
from tests.load.browser import Browser
from tests.load.site import Site

CONNECTIONS = (1, 8, 32)
THREADS = 4
PAGE = "/protected/"


class Pages(NamedTuple):
    """The site and the bare site behind one kind of server, and what a browser sends to each."""

    site: Site
    cookie: str
    bare: Site
    bare_cookie: str


def measure_pages(report: Report, rounds: int, pages: int) -> None:
    """The ratios at 1, 8 and 32 connections, behind each server."""
    rows = []
    for name in SERVERS:
        with two_sites(name) as sites:
            for connections in CONNECTIONS:
                cpu = partial(cpu_per_page, connections=connections, pages=pages)
                figures = alternate(
                    {
                        "ours": partial(cpu, sites.site, PAGE, sites.cookie),
                        "bare": partial(cpu, sites.bare, PAGE, sites.bare_cookie),
                        "prepared": partial(cpu, sites.bare, f"{PAGE}prepared/", sites.bare_cookie),
                    },
                    rounds,
                )
                rows.append(
                    (
                        name,
                        connections,
                        ratio(figures["bare"], to=figures["ours"]),
                        ratio(figures["prepared"], to=figures["ours"]),
                    )
                )
    report.add(
        Table(
            "page",
            "CPU time of a page without the session layer, by that of the protected page (1.00: the layer is free)",
            ("server", "connections", "requests.Session", "prepared request"),
            rows,
            f"One worker of {THREADS} threads; medians of {rounds} alternating rounds of {pages} pages; quartiles.\n"
            "The bare page calls the API by a kept requests.Session, or past it by a prepared request.",
        )
    )


@contextmanager
def two_sites(server: str) -> Iterator[Pages]:
    """The site with a user signed in, and the bare site, in front of the same API; both have warmed up."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        api_url = stack.enter_context(quick_api())
        site, bare = (
            SERVERS[server](
                database_url=f"sqlite:///{folder}/db.sqlite3",
                api_url=api_url,
                workers=1,
                threads=THREADS,
                environment={
                    "DJANGO_SETTINGS_MODULE": settings,
                    "API_ACCESS_TOKEN": access_token(),
                    "LOG_LEVEL": "WARNING",
                },
            )
            for settings in ("config.settings", "tests.benchmarks.bare.settings")
        )
        site.migrate()
        stack.enter_context(site)
        stack.enter_context(bare)
        browser = Browser(site.port)
        browser.sign_in()
        found = Pages(site, browser.jar.header(PAGE), bare, f"csrftoken={browser.jar.value('csrftoken')}")
        for each, cookie in ((site, found.cookie), (bare, found.bare_cookie)):
            cpu_per_page(each, PAGE, cookie, connections=THREADS, pages=200)
        yield found
