"""Random schedules of loss, delay, failure, expiry and theft against the real hand-over.

The site runs in threads of three hosts, the strict demo API behind it over real HTTP, and the clock of both can be
moved. What is random is the order: which request runs when and where, which answers arrive late, out of order or
never, and what the API does.

What cannot be told from theft, the model does not do: an answer takes at most 20 seconds, and where an overtaken one
has put the browser back to an older generation, the browser's next request follows at once.
"""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from django.db.backends.signals import connection_created
from django.http import HttpResponse
from django.test.client import ClientHandler
from hypothesis import HealthCheck, Phase, settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from pytest_django import Settings

from accounts.browser.cookies import read_cookies
from accounts.models import EndReason, SessionRecord
from tests.accounts.rotation.clocks import Clock, movable_clock
from tests.accounts.rotation.hosts import Hosts, several_hosts
from tests.browsers import PATIENCE_SECONDS, Browser, wait_until
from tests.demo_api.server import DemoApi, Fault, Gate

LEEWAY = 30.0
SLOWEST_ANSWER = 20.0
WHICH = strategies.integers(0, 11)
HOSTS = strategies.integers(0, 2)
PAGES = strategies.sampled_from(["/protected/", "/protected/", "/accounts/session/"])


@dataclass
class Sent:
    """A request under way, or answered and not yet arrived."""

    tab: Browser
    page: str
    answer: "Future[HttpResponse]"
    answered_at: float | None = None


class HandOver(RuleBasedStateMachine):
    clock: Clock
    hosts: Hosts
    site: Settings
    handler: ClientHandler

    def __init__(self) -> None:
        super().__init__()
        SessionRecord.objects.all().delete()
        self.api = DemoApi(access_ttl=100_000, refresh_ttl=1_000_000)
        self.api.__enter__()
        self.site.API_BASE_URL = self.api.url
        self.threads = ThreadPoolExecutor(32)
        self.browser = self.share_handler(Browser())
        self.browser.sign_in()
        self.sent: list[Sent] = []
        self.gates: list[Gate] = []
        self.held_since: float | None = None
        self.copies: list[Browser] = []
        self.retired: dict[int, float] = {}
        self.theft_is_found_out = False

    def share_handler(self, browser: Browser) -> Browser:
        """One handler for all requests, as in production. A handler of its own loads the middleware each time."""
        browser.client.handler = self.handler
        return browser

    # --- the honest browser

    # No rule has a precondition: which requests are answered by now depends on threads, and Hypothesis must draw the
    # same in every run of a schedule. A rule that has nothing to act on does nothing.

    @rule(page=PAGES, host=HOSTS, expired=strategies.booleans())
    def send(self, page: str, host: int, expired: bool = False) -> None:
        if len(self.sent) >= 12:
            return
        if expired:
            self.api.expire_access_tokens()
        tab = self.share_handler(self.browser.copy())
        self.sent.append(Sent(tab, page, self.threads.submit(self.get, tab, page, host)))

    @rule(tabs=strategies.integers(2, 5))
    def send_at_once_when_the_tokens_have_expired(self, tabs: int) -> None:
        for number in range(tabs):
            self.send("/protected/", number % 3, expired=number == 0)

    @rule(which=WHICH, lost=strategies.booleans())
    def answer_arrives(self, which: int, lost: bool) -> None:
        if not self.sent:
            return
        sent = self.sent[which % len(self.sent)]
        if self.gates and not sent.answer.done():
            self.held_calls_go_on()
        answer = self.wait_for(sent)
        self.sent.remove(sent)
        self.note_confirmations()
        self.check(sent, answer)
        too_late = sent.answered_at is not None and self.now - sent.answered_at > SLOWEST_ANSWER
        overtaken = self.is_overtaken(answer)
        if lost or too_late or (overtaken and self.gates):
            return
        for name, morsel in answer.cookies.items():
            self.browser.client.cookies[name] = morsel.value
            if not morsel.value:
                del self.browser.client.cookies[name]
        if overtaken and len(self.sent) < 12:
            self.send("/protected/", 0)
            self.answer_arrives(len(self.sent) - 1, lost=False)

    def is_overtaken(self, answer: HttpResponse) -> bool:
        """Whether an answer brings an older generation than the browser has been seen with."""
        session = read_cookies({name: morsel.value for name, morsel in answer.cookies.items()})
        return session is not None and session.generation in self.retired

    def wait_for(self, sent: Sent) -> HttpResponse:
        """The response. While every request waits for the lease of a dead worker, the time for that passes.

        Once the lease has run out, time goes on in small steps: a request that waits needs a moment to claim it.
        """
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while not sent.answer.done():
            assert time.monotonic() < give_up_at, "no response"
            lease_ends = self.a_dead_workers_lease_ends() if self.all_requests_wait(sent) else None
            if lease_ends is None:
                wait([sent.answer], 0.005)
            else:
                self.let_pass(5.0 if lease_ends > self.clock.time() else 1.0)
        return sent.answer.result()

    def all_requests_wait(self, *more: Sent) -> bool:
        """Whether each request waits for another worker's lease, or for a thread of its own host that does."""
        under_way = sum(not answer.done() for answer in {sent.answer for sent in (*self.sent, *more)})
        return self.clock.sleeping() + self.hosts.waiting() >= under_way

    # --- the API

    @rule(path=strategies.sampled_from(["/auth/refresh", "/protected-route"]), after=strategies.booleans())
    def the_next_call_is_held(self, path: str, after: bool) -> None:
        if len(self.gates) >= 2:
            return
        gate = Gate()
        fault = Fault.hold_after(gate) if after else Fault.hold_before(gate)
        self.api.fail("POST" if path == "/auth/refresh" else "GET", path, fault)
        self.gates.append(gate)
        self.held_since = self.now if self.held_since is None else self.held_since

    @rule()
    def held_calls_go_on(self) -> None:
        for gate in self.gates:
            gate.release()
        self.gates.clear()
        self.held_since = None

    @rule(
        fault=strategies.sampled_from(
            [
                Fault.answer(503, {"message": "later"}),
                Fault.answer(404, b"<h1>Not found</h1>", "text/html"),
                Fault.answer(401, b"<h1>Sign in</h1>", "text/html"),
                Fault.answer(200, {"unexpected": True}),
                Fault.reset(),
            ]
        )
    )
    def the_next_refresh_fails(self, fault: Fault) -> None:
        self.api.fail("POST", "/auth/refresh", fault)

    @rule()
    def a_worker_dies_with_the_lease(self) -> None:
        session = read_cookies(self.browser.take())
        if session is not None:
            SessionRecord.objects.claim(session.id, generation=session.generation, owner="dead", lease_seconds=18)

    @rule()
    def the_session_is_rotated_and_confirmed(self) -> None:
        """What an undisturbed browser does all day."""
        if self.gates:
            return
        self.api.heal()
        for number in range(2):
            self.send("/protected/", 0, expired=number == 0)
            self.answer_arrives(len(self.sent) - 1, lost=False)

    # --- time

    @property
    def now(self) -> float:
        """In seconds, as the site sees it: what was moved, and what the machine took."""
        return self.clock.monotonic()

    @rule(seconds=strategies.sampled_from([1.0, 9.0, 29.0, 34.0, 100.0]))
    def time_passes(self, seconds: float) -> None:
        if self.held_since is not None:
            # A refresh must not be held beyond its deadline: its answer would be lost, which a strict API punishes.
            seconds = min(seconds, 8.0 - (self.now - self.held_since))
        else:
            # The same goes for one that is on its way just now: on a busy machine it may take its time.
            wait_until(self.no_refresh_is_on_its_way)
        if seconds > 0:
            self.let_pass(seconds)

    def no_refresh_is_on_its_way(self) -> bool:
        if all(sent.answer.done() for sent in self.sent):
            return True
        # What waits for a dead worker's lease waits for time to pass, and for nothing else.
        return self.a_dead_workers_lease_ends() is not None

    def a_dead_workers_lease_ends(self) -> float | None:
        """When (`clock.time()`), even where it has passed and nobody has claimed the lease since."""
        record = SessionRecord.objects.filter(lease_owner="dead").first()
        return record.lease_until.timestamp() if record is not None and record.lease_until is not None else None

    def let_pass(self, seconds: float) -> None:
        self.note_confirmations()
        for sent in self.sent:
            if sent.answered_at is None and sent.answer.done():
                sent.answered_at = self.now
        self.clock.ahead += seconds
        self.api.advance_clock(seconds)

    # --- the thief

    @rule()
    def the_cookie_is_copied(self) -> None:
        if len(self.copies) < 3 and read_cookies(self.browser.take()) is not None:
            self.copies.append(self.browser.copy())

    @rule(which=WHICH, page=PAGES)
    def the_copy_is_used(self, which: int, page: str) -> None:
        if self.gates or not self.copies or self.theft_is_found_out:
            return
        thief = self.share_handler(self.copies[which % len(self.copies)].copy())
        self.note_confirmations()
        session = read_cookies(thief.take())
        assert session is not None
        retired_at = self.retired.get(session.generation)
        out = retired_at is not None and self.now > retired_at + LEEWAY + 3
        answer = self.wait_for(Sent(thief, page, self.threads.submit(self.get, thief, page, 1)))
        if SessionRecord.objects.filter(end_reason=EndReason.REUSED).exists():
            assert retired_at is not None, "the newest generation was taken for a copy"
            assert self.now >= retired_at + LEEWAY - 3, "a copy was punished within the leeway"
            self.theft_is_found_out = True
        elif out and page == "/protected/":
            # Its access token is dead as well: only expired ones are rotated away.
            assert answer.status_code != 200, "a generation retired long ago got in"

    # --- what holds

    def get(self, tab: Browser, page: str, host: int) -> HttpResponse:
        self.hosts.move_to(host)
        return tab.get(page)

    def note_confirmations(self) -> None:
        record = SessionRecord.objects.first()
        for generation in range(record.confirmed if record else 0):
            self.retired.setdefault(generation, self.now)

    def check(self, sent: Sent, answer: HttpResponse) -> None:
        if self.theft_is_found_out or SessionRecord.objects.filter(end_reason=EndReason.REUSED).exists():
            return
        if sent.page == "/protected/":
            # 502 where the tokens expire between a refresh and the call that it was for.
            assert answer.status_code in (200, 502, 503), f"an honest browser was sent to {answer.headers}"
        else:
            assert answer.json()["authenticated"]  # type: ignore[attr-defined]

    @invariant()
    def no_refresh_token_is_sent_twice(self) -> None:
        assert self.api.reuses == 0
        assert set(self.api.refresh_spends.values()) <= {1}

    @invariant()
    def nothing_but_theft_ends_the_session(self) -> None:
        for record in SessionRecord.objects.exclude(ended_at=None):
            assert record.end_reason == EndReason.REUSED
            assert self.copies, "reuse was found where nothing was copied"

    def teardown(self) -> None:
        try:
            self.api.heal()
            self.held_calls_go_on()
            for sent in self.sent:
                self.wait_for(sent)
            if not SessionRecord.objects.exclude(ended_at=None).exists():
                self.let_pass(20)  # the longest lease and the longest pause are over
                assert self.browser.is_signed_in()
                self.no_refresh_token_is_sent_twice()
        finally:
            self.threads.shutdown()
            self.api.__exit__(None, None, None)


@contextmanager
def unsynchronised_database() -> Iterator[None]:
    """SQLite does not wait for the disk. That protects from a power failure, which is not in the model."""

    def configure(connection: Any, **_: Any) -> None:
        if connection.vendor == "sqlite":
            connection.connection.execute("PRAGMA synchronous=OFF")

    connection_created.connect(configure)
    try:
        yield
    finally:
        connection_created.disconnect(configure)


@pytest.mark.django_db(transaction=True)
def test_an_honest_browser_stays_signed_in_whatever_the_schedule(settings: Settings) -> None:
    with unsynchronised_database(), movable_clock() as clock, several_hosts(3) as hosts:
        parts = {"clock": clock, "hosts": hosts, "site": settings, "handler": ClientHandler(enforce_csrf_checks=False)}
        machine: Any = type("Machine", (HandOver,), parts)
        run_state_machine_as_test(machine, settings=MODEL_SETTINGS)


MODEL_SETTINGS = settings(
    max_examples=60,
    stateful_step_count=40,
    # Shrinking takes minutes where requests wait for leases: a failing schedule is printed as it was found.
    phases=[Phase.explicit, Phase.generate],
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
