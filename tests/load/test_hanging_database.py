"""A database that hangs: it takes connections and statements, and responds to none. Nothing may wait for long."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.demo_api.server import DemoApi, Fault, Gate
from tests.load.browser import GRACE, Answer, Browser
from tests.load.postgres import PostgresServer, Standby
from tests.load.processes import wait_until
from tests.load.site import Site

pytestmark = pytest.mark.postgres

READY = "/health/ready"
#: What config/README.md promises.
LONGEST_SECONDS = 15.0
TABS = 12


@pytest.fixture(scope="module")
def primary(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """A server that a test may spoil. It asks for `postgres` only to be skipped where there is none."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="module")
def database(primary: PostgresServer) -> str:
    Site(database_url=primary.create_database("site"), api_url="http://127.0.0.1:1").migrate()
    return "site"


@pytest.fixture
def api() -> Iterator[DemoApi]:
    with DemoApi(access_ttl=3600) as api:
        yield api


def site_on(*servers: PostgresServer, api: DemoApi, database: str) -> Site:
    """One process with eight threads."""
    addresses = ",".join(server.address for server in servers)
    url = servers[0].url(database).replace(servers[0].address, addresses) + "?target_session_attrs=read-write"
    return Site(database_url=url, api_url=api.url, workers=1, environment=api.site_environment)


def sign_in(site: Site, user: str = GRACE) -> Browser:
    """A browser whose session is confirmed."""
    browser = Browser(site.port)
    browser.sign_in(user)
    browser.open()
    return browser


def expect_short_waits(site: Site, expired: Browser, good: Browser) -> None:
    """The database hangs: expired tokens get a 503 and lose no session, good tokens their page."""
    tabs = expired.open_tabs(TABS)
    answers = [tab.answer() for tab in tabs]
    check = good.open(READY)
    pages = [good.open() for _ in range(5)]

    assert {answer.status for answer in answers} == {503}
    assert not any(answer.session_cookies for answer in answers)
    assert check.status == 503
    assert [page.status for page in pages] == [200] * 5
    assert max(answer.seconds for answer in [*answers, check, *pages]) < LONGEST_SECONDS


def open_until_well(browser: Browser) -> Answer:
    """The first page that is there again."""
    answers: list[Answer] = []

    def is_well() -> bool:
        answers.append(browser.open())
        assert answers[-1].status in (200, 503)
        return answers[-1].status == 200

    wait_until(is_well, "the page is there again", seconds=LONGEST_SECONDS)
    return answers[-1]


def test_a_frozen_primary_is_not_waited_for_and_the_promoted_host_is_found(
    primary: PostgresServer, database: str, api: DemoApi
) -> None:
    with Standby(primary) as standby, site_on(primary, standby, api=api, database=database) as site:
        expired = sign_in(site)
        api.expire_access_tokens()
        good = sign_in(site)
        primary.freeze()
        try:
            expect_short_waits(site, expired, good)
            standby.promote()
            open_until_well(expired)
            assert good.open(READY).status == 200
        finally:
            primary.thaw()


def test_a_dead_synchronous_standby_is_not_waited_for_and_no_session_is_lost(
    primary: PostgresServer, database: str, api: DemoApi
) -> None:
    site = site_on(primary, api=api, database=database)
    with Standby(primary, name="second") as standby, site, Gate() as gate:
        storing, expired = sign_in(site), sign_in(site)
        api.expire_access_tokens()
        good = sign_in(site)
        # The API has responded to a refresh, and the new pair has to be stored when the standby is gone.
        api.fail(*api.refresh_call, Fault.hold_after(gate), times=1)
        tab = storing.open_tab(receives=False)
        assert gate.reached.wait(LONGEST_SECONDS)
        with waiting_for(primary, "second"):
            standby.crash()
            gate.release()
            answer = tab.answer()
            expect_short_waits(site, expired, good)
        open_until_well(expired)
        assert (answer.status, storing.open().status) == (200, 200)
        api.expire_access_tokens()
        assert open_until_well(storing).status == 200
    assert not api.reuses


@contextmanager
def waiting_for(primary: PostgresServer, name: str) -> Iterator[None]:
    """Each commit of `primary` waits for the standby `name`."""

    primary.set_synchronous_standby(name)
    try:
        yield
    finally:
        primary.set_synchronous_standby("")
