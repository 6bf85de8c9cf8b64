"""What scenarios play on: sites of one kind of API, started once, and for each scenario a count of its own."""

import itertools
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.demo_api.recorded import RecordedApi
from tests.demo_api.server import DemoApi, Fault, Gate
from tests.load.bound_browser import BOUND, BoundBrowser
from tests.load.browser import ADA, PAGE, Answer, Browser, Tab
from tests.load.figures import Figures
from tests.load.postgres import PostgresServer
from tests.load.processes import POLL_SECONDS, free_port
from tests.load.site import Site
from tests.real_apis.apis import OAuthProvider, SimpleJwtApi
from tests.real_apis.front import RealApi
from tests.real_apis.oidc import OidcProvider

KINDS = ("token-pair", "simplejwt", "oauth2", "oidc-provider")
#: For those that can have one: so long, a spent refresh token is taken again. And the dialect that knows.
GRACE_SECONDS = 60
LENIENT_DIALECTS = {
    "token-pair": "tests.load.dialects.GraceDialect",
    "oauth2": "tests.load.dialects.GraceOAuth2Dialect",
}

PATIENCE_SECONDS = 20.0
_LOG_LINES = 40

#: How every JWT begins. The site's log must hold none.
_TOKEN_BEGINS = "eyJ"


class SessionLost(AssertionError):
    """An honest browser was signed out."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How large the scenarios are: tabs at once, rotations in a row, seconds under load."""

    tabs: int
    rotations: int
    seconds: float


SHORT = Scale(tabs=20, rotations=3, seconds=4)
LONG = Scale(tabs=20, rotations=10, seconds=60)

#: Tokens that outlive a scenario: they expire when it says so.
LONG_LIVED_SECONDS = 3600


class Stage:
    """The sites, as a context manager. They are started when a scenario asks for them, and shared by all.

    `kind` is one of KINDS. Scenarios run one at a time: they share the API's port too. Behind it each has a demo API of
    its own; a real API is the same for all, and what a scenario has it do concerns the sign-ins of earlier ones too.
    """

    def __init__(self, scale: Scale, postgres: PostgresServer | None = None, *, kind: str = KINDS[0]) -> None:
        self.scale = scale
        self.postgres = postgres
        self.kind = kind
        self.api_port = free_port()
        #: Of the scenario that runs now, or ran last.
        self.figures = Figures()
        self._has_tables = False
        self._bound = itertools.cycle((True, False))
        self._folder = Path(tempfile.mkdtemp(prefix="storm-"))
        self._closing = ExitStack()
        self._closing.callback(shutil.rmtree, self._folder, ignore_errors=True)

    def __enter__(self) -> "Stage":
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def next_is_bound(self) -> bool:
        """Whether the next browser is to bind its sessions to the device."""
        return next(self._bound)

    @cached_property
    def site(self) -> Site:
        """Four workers on SQLite."""
        site = self.another_site(workers=4)
        return self._closing.enter_context(site)

    @cached_property
    def lenient_site(self) -> Site:
        """Knows that its API takes the same refresh token twice, within a grace period."""
        dialect = {"API_DIALECT": LENIENT_DIALECTS[self.kind]}
        return self._closing.enter_context(self.another_site(workers=2, environment=dialect))

    @cached_property
    def two_sites(self) -> list[Site]:
        """Two hosts of two workers each, on one PostgreSQL."""
        assert self.postgres is not None, "this scenario needs PostgreSQL"
        url = self.postgres.create_database(f"storm{free_port()}")
        sites = [
            Site(database_url=url, api_url=self._api_url, workers=2, environment=self._environment) for _ in range(2)
        ]
        sites[0].migrate()
        return [self._closing.enter_context(site) for site in sites]

    def another_site(
        self,
        *,
        workers: int = 1,
        preload: bool = True,
        database_url: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> Site:
        """One more host, for a scenario that needs other settings. All on SQLite share one database.

        One with a database of its own has to be migrated yet.
        """
        site = Site(
            database_url=database_url or f"sqlite:///{self.database}",
            api_url=self._api_url,
            workers=workers,
            preload=preload,
            environment={**self._environment, **(environment or {})},
        )
        if not (database_url or self._has_tables):
            site.migrate()
            self._has_tables = True
        return site

    @property
    def database(self) -> Path:
        """The file in which SQLite keeps the records."""
        return self._folder / "records.sqlite3"

    @contextmanager
    def serve_api(
        self, *, access_ttl: float = LONG_LIVED_SECONDS, grace_seconds: int = 0, **demo_options: Any
    ) -> Iterator[RecordedApi]:
        """The API for one scenario: well, and with an empty list of calls. `demo_options` are for a DemoApi alone."""
        if self.kind == "token-pair":
            with DemoApi(self.api_port, access_ttl, grace_seconds=grace_seconds, **demo_options) as api:
                yield api
            return
        assert not demo_options, f"{self.kind} knows nothing of {demo_options}"
        real = self._real_api
        real.set_access_ttl(access_ttl)
        if isinstance(real, OAuthProvider):
            real.set_grace(grace_seconds)
        else:
            assert not grace_seconds, f"{self.kind} has no grace period"
        real.start_serving()
        try:
            yield real
        finally:
            real.stop_serving()
            real.heal()
            real.forget_calls()

    @cached_property
    def _real_api(self) -> RealApi:
        assert isinstance(self._api, RealApi)
        return self._closing.enter_context(self._api)

    @cached_property
    def _api(self) -> RecordedApi:
        return _make_api(self.kind, self.api_port)

    @property
    def _environment(self) -> dict[str, str]:
        """What points a site at an API of this kind, which need not be there yet."""
        return {**self._api.site_environment, **BOUND}

    @property
    def _api_url(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"


class Act:
    """One scenario's API, browsers and figures, as a context manager. `api_options` are those of `Stage.serve_api`.

    At its end: whatever happened, no token was refused as spent, unless `may_reuse`, none was accepted twice, but for
    an API with a grace period, and none is in the log.
    """

    def __init__(self, stage: Stage, sites: Sequence[Site], *, may_reuse: bool = False, **api_options: Any) -> None:
        self.figures = stage.figures = Figures()
        self._stage = stage
        self.sites = sites
        self.ports = [site.port for site in sites]
        self._browsers: list[Browser] = []
        self._may_reuse = may_reuse
        self._has_grace = "grace_seconds" in api_options
        self._serving = stage.serve_api(**api_options)
        self._generations: dict[Browser, int] = {}

    def __enter__(self) -> Self:
        self.api = self._serving.__enter__()
        self._reuses_before, self._spends_before = self.api.reuses, self.api.refresh_spends
        for site in self.sites:
            for url in (site.url, site.url.replace("http:", "https:")):
                self.api.register_site(url)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._count()
        spends = self.api.refresh_spends - self._spends_before
        tokens = _tokens_on_the_wire(self.api)
        self._serving.__exit__(None, None, None)
        if error is None:
            assert self._may_reuse or not self.figures.reuses, "a spent refresh token was sent"
            assert self._has_grace or set(spends.values()) <= {1}, "a refresh token was accepted twice"
            assert not any(token in site.log for site in self.sites for token in tokens), "a token is in the site's log"
        else:
            log = "\n".join("\n".join(site.log.splitlines()[-_LOG_LINES:]) for site in self.sites)
            error.add_note(f"{self.figures}\nThe end of the site's log:\n{log}")

    def sign_in(self, user: str = ADA) -> Browser:
        """A browser in which somebody has just signed in, at the first site."""
        browser = self.new_browser()
        browser.sign_in(user)
        if isinstance(browser, BoundBrowser):
            browser.wait_until_bound()
            assert browser.sessions, "the session was not bound"
        return browser

    def new_browser(self) -> Browser:
        """A browser without a session. Every second one binds its sessions to the device."""
        browser = BoundBrowser(self.ports[0]) if self._stage.next_is_bound() else Browser(self.ports[0])
        browser.headers["X-Forwarded-For"] = "127.0.0.1"
        return self.follow(browser)

    def expire(self) -> None:
        """Every access token so far is refused from now on."""
        self.api.expire_access_tokens()

    def fail_refresh(self, fault: Fault, times: int | None = 1) -> None:
        """Let the next `times` refreshes meet this fault (None: all). At a provider, sign-ins meet it as well."""
        self.api.fail(*self.api.refresh_call, fault, times=times)

    def measure_baseline(self, browser: Browser, tabs: int) -> None:
        """How long as many tabs take that need no refresh."""
        for _ in range(3):
            answers = self.expect_pages(browser.open_tabs(tabs, ports=self.ports))
            self.figures.baseline += [answer.seconds for answer in answers]

    def open_tab_held_after_rotation(self, browser: Browser, gate: Gate) -> Tab:
        """A tab that has rotated, and whose page the API has ready, but not sent. Expire the access tokens before."""
        # The first call learns that the token has expired; the repeated one is held.
        self.api.fail("GET", "/protected-route", Fault.delay(0))
        self.api.fail("GET", "/protected-route", Fault.hold_after(gate))
        tab = browser.open_tab()
        assert gate.reached.wait(PATIENCE_SECONDS)
        return tab

    def expect_pages(self, tabs: Sequence[Tab], *, timed: bool = False) -> list[Answer]:
        """The answers to an honest browser's tabs, each of them a page."""
        answers = [tab.answer() for tab in tabs]
        for answer in answers:
            self.expect(answer, 200)
        if timed:
            self.figures.latencies += [answer.seconds for answer in answers]
        return answers

    def expect(self, answer: Answer, *statuses: int) -> Answer:
        """An answer to an honest browser: one of these statuses, and never the end of its session."""
        if answer.signs_out or answer.deletes_session:
            self.figures.lost += 1
            raise SessionLost(f"signed out by {answer}")
        assert answer.status in statuses, f"{answer}: expected {statuses}"
        return answer

    def expect_signed_out(self, browser: Browser, path: str = PAGE) -> Answer:
        """What a browser gets whose session is over, as it should be."""
        answer = browser.open(path)
        assert answer.signs_out, f"still signed in: {answer}"
        return answer

    def expect_broken(self, tab: Tab) -> None:
        """No answer: its worker is gone."""
        with suppress(OSError, HTTPException):
            raise AssertionError(f"an answer from a dead worker: {tab.answer()}")

    def expect_alive(self, browser: Browser, *, generation: int | None = None) -> None:
        """A browser gets its page, at the latest when the API's or the database's bad moment is over."""
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while self.expect(browser.open(), 200, 502, 503).status != 200:
            assert time.monotonic() < give_up_at, "the site does not recover"
            time.sleep(POLL_SECONDS * 5)
        seen = self.generation(browser)
        assert generation in (None, seen), f"generation {seen}, expected {generation}"

    def generation(self, browser: Browser) -> int:
        """How often the browser's session has been rotated, as it is told."""
        answer = browser.open("/accounts/session/")
        generation = answer.json()["generation"]
        if generation is None:
            self.figures.lost += 1
            raise SessionLost(f"this browser holds no session any more: {answer}")
        self._generations[browser] = int(generation)
        return int(generation)

    def follow(self, browser: Browser) -> Browser:
        """Count the requests of a browser that was not made here, too."""
        self._browsers.append(browser)
        return browser

    def _count(self) -> None:
        self.figures.requests = sum(browser.requests for browser in self._browsers)
        # What the API has accepted: it never saw a call that a fault answered in its place.
        self.figures.refreshes = sum(
            self.api.is_refresh(call) and 200 <= call.status < 300 and call.fault not in ("answer", "gateway")
            for call in self.api.calls
        )
        self.figures.rotations = sum(self._generations.values())
        self.figures.reuses = self.api.reuses - self._reuses_before


def _make_api(kind: str, port: int) -> RecordedApi:
    """An API of this kind, not started yet."""
    if kind == "simplejwt":
        return SimpleJwtApi(port)
    if kind == "oauth2":
        return OAuthProvider(port, consent=False)
    if kind == "oidc-provider":
        return OidcProvider(port, private_key_jwt=True, par="required", dpop=True, dpop_nonces=True, fapi=True)
    return DemoApi(port)


def _tokens_on_the_wire(api: RecordedApi) -> set[str]:
    """Access tokens, what authenticates the client, proofs, and a real API's refresh tokens."""
    calls = api.calls
    found = {call.headers.get(name, "").rpartition(" ")[2] for call in calls for name in ("authorization", "dpop")}
    if isinstance(api, RealApi):
        names = (api.refresh_field, "client_assertion")
        found |= {fields.get(name, "") for fields in map(api.read_body, calls) for name in names}
    return found - {""} | {_TOKEN_BEGINS}
