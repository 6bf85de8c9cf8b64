"""What the session layer costs a page, and where the time of a request goes.

CPU time of the server's processes per page, one worker, in alternating rounds; the API answers at once, elsewhere. The
other site is `tests.benchmarks.bare`: its settings say what it lacks.
"""

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from django.conf import settings

from accounts.session.api_session import ApiSession
from accounts.upstream.dpop import new_key
from tests.benchmarks.quick_api import access_token
from tests.benchmarks.report import Cell, Ratio, Report, Table, alternate, ratio
from tests.benchmarks.servers import SERVERS, cpu_per_page, quick_api, signed_in
from tests.load.bound_browser import BOUND, BoundBrowser
from tests.load.browser import PAGE, Browser
from tests.load.site import KEY, Site

CONNECTIONS = (1, 8, 32)
THREADS = 4
#: How often the sites are started anew. Two processes of the same program differ by some percent, by where in memory
#: things happen to be.
STARTS = 4
WARM_UP_PAGES = 200


class Pages(NamedTuple):
    """The site and the bare site behind one kind of server, and what a browser sends to each."""

    site: Site
    cookie: str
    bare: Site
    bare_cookie: str

    def measure(self, steps: dict[str, str], rounds: int, pages: int, connections: int) -> dict[str, list[float]]:
        """CPU seconds a page, by name: of the protected page as "ours", and of the bare site's at these paths."""
        cpu = partial(cpu_per_page, connections=connections, pages=pages)
        bare = {name: partial(cpu, self.bare, f"{PAGE}{path}", self.bare_cookie) for name, path in steps.items()}
        return alternate({"ours": partial(cpu, self.site, PAGE, self.cookie), **bare}, rounds)


def measure_pages(report: Report, rounds: int, pages: int) -> None:
    """The ratios at 1, 8 and 32 connections, behind each server."""
    steps = {"session": "", "prepared": "prepared/"}
    rows: list[list[Cell | Ratio]] = []
    for server in SERVERS:
        figures: dict[int, dict[str, list[float]]] = {count: defaultdict(list) for count in CONNECTIONS}
        for _ in range(STARTS):
            with two_sites(server) as sites:
                for connections in CONNECTIONS:
                    for name, found in sites.measure(steps, rounds, pages, connections).items():
                        figures[connections][name] += found
        rows += [
            [server, count, *(ratio(figures[count][name], to=figures[count]["ours"]) for name in steps)]
            for count in CONNECTIONS
        ]
    report.add(
        Table(
            "page",
            "CPU time of the page without the session layer, by that of the protected page (1.00: the layer is free)",
            ("server", "connections", "requests.Session", "prepared request"),
            rows,
            f"One worker of {THREADS} threads; {STARTS} times {rounds} alternating rounds of {pages} pages;"
            " medians and quartiles.\nThe bare page calls the API by a kept requests.Session; or past it, by a prepared"
            " request through an adapter.",
        )
    )


def measure_shares(report: Report, rounds: int, pages: int) -> None:
    """Where the time goes: pages that do one thing more each, up to the protected page."""
    steps = {"nothing": "nothing/", "template": "no-call/", "call": "our-call/", "requests": ""}
    shares: dict[str, list[Ratio]] = defaultdict(list)
    for server in SERVERS:
        figures: dict[str, list[float]] = defaultdict(list)
        for _ in range(STARTS):
            with two_sites(server) as sites:
                for name, found in sites.measure(steps, rounds, pages, 1).items():
                    figures[name] += found
        for what, more, less in (
            ("the server, Django, and the middleware of every page", "nothing", None),
            ("the template, with its CSRF token", "template", "nothing"),
            ("the call to the API, as this site makes it", "call", "template"),
            ("the session layer", "ours", "call"),
            ("(the call by a requests.Session instead)", "requests", "template"),
        ):
            before = figures[less] if less else [0.0] * len(figures[more])
            spent = [one - other for one, other in zip(figures[more], before, strict=True)]
            shares[what].append(ratio(spent, to=figures["ours"]))
    report.add(
        Table(
            "where",
            "Where the CPU time of a request for the protected page goes (1.00: all of it)",
            ("what", *SERVERS),
            [[what, *found] for what, found in shares.items()],
            f"One connection; one worker; {STARTS} times {rounds} alternating rounds of {pages} pages; medians and"
            " quartiles of the differences.",
        )
    )


def measure_bound(report: Report, rounds: int, pages: int) -> None:
    """What a page of a session costs that is bound to the device, or whose tokens are bound to a key (DPoP), by what it
    costs without.
    """
    if not settings.configured:
        settings.configure(SECRET_KEY=KEY, API_SESSION_KEYS=[KEY])
    rows: list[list[Cell | Ratio]] = []
    for server in SERVERS:
        figures: dict[str, list[float]] = defaultdict(list)
        for _ in range(STARTS):
            with bound_and_unbound(server) as sessions:
                for name, found in alternate(
                    {name: partial(cpu, pages) for name, cpu in sessions.items()}, rounds
                ).items():
                    figures[name] += found
        rows.append([server, *(ratio(figures[name], to=figures["unbound"]) for name in ("bound", "dpop"))])
    report.add(
        Table(
            "bound",
            "CPU time of the protected page in a session that is bound, by that in one that is not",
            ("server", "to the device", "tokens to a key (DPoP)"),
            rows,
            f"One connection; one worker; {STARTS} times {rounds} alternating rounds of {pages} pages; medians and"
            " quartiles.",
        )
    )


@contextmanager
def bound_and_unbound(server: str) -> Iterator[dict[str, Callable[[int], float]]]:
    """CPU seconds a page, of as many pages as is said, in a session of each kind at one site."""
    with tempfile.TemporaryDirectory() as folder, quick_api() as api_url:
        site = SERVERS[server](
            database_url=f"sqlite:///{folder}/db.sqlite3",
            api_url=api_url,
            workers=1,
            threads=THREADS,
            environment={**BOUND, "API_SESSION_DEVICE_PROOF_SECONDS": "3600", "LOG_LEVEL": "WARNING"},
        )
        site.migrate()
        with site:
            bound, unbound = BoundBrowser(site.port), Browser(site.port)
            unbound.headers, unbound.origin_scheme = bound.headers, bound.origin_scheme
            found: dict[str, Callable[[int], float]] = {}
            for name, browser in (("bound", bound), ("unbound", unbound)):
                browser.sign_in()
                bound.wait_until_bound()
                # Once the site has seen the device cookie, the record has the key.
                assert [browser.open().status for _ in range(2)] == [200, 200]
                cookie = browser.jar.header(PAGE)
                assert ("session-device" in cookie) == (name == "bound")
                read = partial(cpu_per_page, site, PAGE, cookie, connections=1, headers=browser.headers)
                read(pages=WARM_UP_PAGES)
                found[name] = lambda pages, read=read: read(pages=pages)  # type: ignore[misc]
            sealed = unbound.jar.value("session")
            session = ApiSession.open_cookie(sealed)
            proving = replace(session, tokens=replace(session.tokens, dpop_key=new_key())).seal_for_cookie()
            cookie = cookie.replace(sealed, proving)
            read_proving = partial(cpu_per_page, site, PAGE, cookie, connections=1, headers=unbound.headers)
            read_proving(pages=WARM_UP_PAGES)
            yield {**found, "dpop": lambda pages: read_proving(pages=pages)}


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
        browser = signed_in(site.port)
        found = Pages(site, browser.jar.header(PAGE), bare, f"csrftoken={browser.jar.value('csrftoken')}")
        for each, cookie in ((site, found.cookie), (bare, found.bare_cookie)):
            cpu_per_page(each, PAGE, cookie, connections=THREADS, pages=WARM_UP_PAGES)
        yield found
