"""The limits on failed sign-ins over real processes: workers of one host, and hosts that share a database."""

import re
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass

import pytest
import requests

from tests.demo_api.server import DemoApi, Fault
from tests.demo_api.users import DEMO_USERS
from tests.load.postgres import PostgresServer
from tests.load.processes import wait_until
from tests.load.site import Site

ADA, GRACE = "ada@example.com", "grace@example.com"
HERE, ELSEWHERE = "198.51.100.7", "203.0.113.9"
WRONG = "low-tide"
AT_ONCE = 20
PER_USER, PER_ADDRESS, ANYWHERE = 5, 8, 12
SLOW_API_SECONDS = 0.5
#: One trusted proxy, so X-Forwarded-For sets the client address.
ENVIRONMENT = {
    "TRUSTED_PROXY_COUNT": "1",
    "SIGN_IN_LIMIT_PER_ADDRESS": f"{PER_ADDRESS}/10 minutes",
    "SIGN_IN_LIMIT_PER_USER": f"{PER_USER}/10 minutes",
    "SIGN_IN_LIMIT_PER_USER_ANYWHERE": f"{ANYWHERE}/hour",
}


@dataclass(frozen=True)
class Fleet:
    """Hosts with one database and one API."""

    sites: list[Site]
    api: DemoApi
    database_url: str
    execute: Callable[[str], object]

    def form(self, number: int, name: str, password: str = "", address: str = HERE) -> "Form":
        """A form of one of the hosts, chosen by `number`."""
        return Form(self.sites[number % len(self.sites)], name, password, address)

    @property
    def passwords_checked(self) -> int:
        """How many passwords the API was asked to check."""
        return self.api.count("POST", "/auth/login")


@pytest.fixture(
    scope="module", params=["one host, SQLite", pytest.param("two hosts, PostgreSQL", marks=pytest.mark.postgres)]
)
def shared_fleet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with ExitStack() as stack:
        api = stack.enter_context(DemoApi(access_ttl=60))
        # A slow API, so that all guesses are under way at the same time.
        api.fail("POST", "/auth/login", Fault.delay(SLOW_API_SECONDS), times=None)
        if request.param == "one host, SQLite":
            file = tmp_path_factory.mktemp("site") / "db.sqlite3"
            url = f"sqlite:///{file}"
            sites = [site_of(url, api, workers=4)]
            sites[0].migrate()
            database = stack.enter_context(closing(sqlite3.connect(file, isolation_level=None)))
            fleet = Fleet(sites, api, url, database.execute)
        else:
            server: PostgresServer = request.getfixturevalue("postgres")
            url = server.create_database("limits")
            sites = [site_of(url, api, workers=2) for _ in range(2)]
            sites[0].migrate()
            fleet = Fleet(sites, api, url, stack.enter_context(server.connect("limits")).execute)
        for site in sites:
            stack.enter_context(site)
        yield fleet


@pytest.fixture
def fleet(shared_fleet: Fleet) -> Fleet:
    """Without counted attempts."""
    shared_fleet.execute("DELETE FROM accounts_tally")
    shared_fleet.api.forget_calls()
    return shared_fleet


def site_of(database_url: str, api: DemoApi, *, workers: int, **environment: str) -> Site:
    return Site(database_url=database_url, api_url=api.url, workers=workers, environment={**ENVIRONMENT, **environment})


class Form:
    """A sign-in form that is filled in but not sent yet."""

    def __init__(self, site: Site, name: str, password: str = "", address: str = HERE) -> None:
        self._url = f"{site.url}/accounts/login/"
        page = requests.get(self._url, timeout=60)
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
        assert token
        self._fields = {
            "csrfmiddlewaretoken": token[1],
            "username": name,
            "password": password or DEMO_USERS[name],
        }
        self._headers = {"Cookie": f"csrftoken={page.cookies['csrftoken']}", "X-Forwarded-For": address}

    def send(self) -> int:
        answer = requests.post(self._url, self._fields, headers=self._headers, allow_redirects=False, timeout=60)
        return answer.status_code


def send_at_once(forms: list[Form]) -> Counter[int]:
    """Send all forms at the same time. Returns the statuses."""
    ready = threading.Barrier(len(forms))

    def send(form: Form) -> int:
        ready.wait(60)
        return form.send()

    with ThreadPoolExecutor(len(forms)) as threads:
        return Counter(threads.map(send, forms))


def test_guesses_at_once_over_all_processes_are_no_more_than_the_limit(fleet: Fleet) -> None:
    forms = [fleet.form(number, ADA, WRONG) for number in range(AT_ONCE)]

    assert send_at_once(forms) == {200: PER_USER, 429: AT_ONCE - PER_USER}

    assert fleet.passwords_checked == PER_USER
    assert [fleet.form(number, ADA).send() for number in range(8)] == [429] * 8
    assert fleet.form(0, ADA, address=ELSEWHERE).send() == 302
    assert fleet.form(1, GRACE).send() == 302


def test_one_password_tried_on_many_users_at_once(fleet: Fleet) -> None:
    forms = [fleet.form(number, f"user-{number}@example.com", WRONG) for number in range(AT_ONCE)]

    assert send_at_once(forms) == {200: PER_ADDRESS, 429: AT_ONCE - PER_ADDRESS}

    assert fleet.passwords_checked == PER_ADDRESS


def test_guesses_from_many_addresses_at_once_leave_users_in_where_they_are_known(fleet: Fleet) -> None:
    assert fleet.form(0, ADA, address=ELSEWHERE).send() == 302
    forms = [fleet.form(number, ADA, WRONG, f"192.0.2.{number}") for number in range(AT_ONCE)]

    assert send_at_once(forms) == {200: ANYWHERE, 429: AT_ONCE - ANYWHERE}

    assert fleet.passwords_checked == 1 + ANYWHERE
    assert fleet.form(1, ADA).send() == 429
    assert fleet.form(1, ADA, address=ELSEWHERE).send() == 302


def test_right_passwords_at_once_are_all_let_in_and_leave_nothing_counted(fleet: Fleet) -> None:
    for _ in range(2):
        assert send_at_once([fleet.form(number, ADA) for number in range(PER_USER)]) == {302: PER_USER}

    guesses = [fleet.form(number, ADA, WRONG) for number in range(AT_ONCE)]
    assert send_at_once(guesses) == {200: PER_USER, 429: AT_ONCE - PER_USER}


def test_a_limit_is_over_when_its_time_is(fleet: Fleet) -> None:
    """Measured by the real clock of the database."""
    with site_of(fleet.database_url, fleet.api, workers=2, SIGN_IN_LIMIT_PER_USER="2/3 seconds") as site:
        assert send_at_once([Form(site, ADA, WRONG) for _ in range(4)]) == {200: 2, 429: 2}

        wait_until(lambda: Form(site, ADA).send() == 302, "the window is over")
