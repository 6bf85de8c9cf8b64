"""Random schedules of loss, delay, failure, expiry and theft against the real rotation.

The site runs in threads of three hosts, with the strict demo API over real HTTP, and the clock of both can be moved.
The order is random: which request runs when and where, which responses arrive late, out of order or never, and what the
API does.

The model leaves out what cannot be distinguished from theft: a response takes at most 20 seconds, and when an overtaken
response has put the browser back to an older generation, the next request of the browser follows at once.
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
from tests.browsers import PATIENCE_SECONDS, Browser
from tests.demo_api.server import DemoApi, Fault, Gate

LEEWAY = 30.0
SLOWEST_RESPONSE = 20.0
#: Shorter than the deadline of a refresh, which is 13 seconds.
LONGEST_HOLD = 8.0
WHICH = strategies.integers(0, 11)
HOSTS = strategies.integers(0, 2)
PAGES = strategies.sampled_from(["/protected/", "/protected/", "/accounts/session/"])


@dataclass
class Sent:
    """A request in progress, or one whose response has not reached the browser yet."""

    tab: Browser
    page: str
    response: "Future[HttpResponse]"
    responded_at: float | None = None


class RotationModel(RuleBasedStateMachine):
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
        self.theft_is_detected = False

    def share_handler(self, browser: Browser) -> Browser:
        """One handler for all requests, as in production. Each new handler would load the middleware."""
        browser.client.handler = self.handler
        return browser

    # --- the honest browser

    # No rule has a precondition: threads decide which requests have a response by now, and Hypothesis must draw the
    # same in each run of a schedule. A rule that has nothing to act on does nothing.

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
    def response_arrives(self, which: int, lost: bool) -> None:
        if not self.sent:
            return
        sent = self.sent[which % len(self.sent)]
        if self.gates and not sent.response.done():
            self.release_held_calls()
        response = self.wait_for(sent)
        self.sent.remove(sent)
        self.note_confirmations()
        self.check(sent, response)
        too_late = sent.responded_at is not None and self.now - sent.responded_at > SLOWEST_RESPONSE
        overtaken = self.is_overtaken(response)
        if lost or too_late or (overtaken and self.gates):
            return
        for name, morsel in response.cookies.items():
            self.browser.client.cookies[name] = morsel.value
            if not morsel.value:
                del self.browser.client.cookies[name]
        if overtaken and len(self.sent) < 12:
            self.send("/protected/", 0)
            self.response_arrives(len(self.sent) - 1, lost=False)

    def is_overtaken(self, response: HttpResponse) -> bool:
        """Whether a response brings an older generation than the browser has sent."""
        session = read_cookies({name: morsel.value for name, morsel in response.cookies.items()})
        return session is not None and session.generation in self.retired

    def wait_for(self, sent: Sent) -> HttpResponse:
        """The response. While every request waits for the lease of a dead worker, the time for that passes.

        Once the lease has run out, time goes on in small steps: a request that waits needs a moment to claim it.
        """
        give_up_at = time.monotonic() + 2 * PATIENCE_SECONDS
        while not sent.response.done():
            assert time.monotonic() < give_up_at, "no response"
            lease_ends_at = self.dead_lease_ends_at() if self.all_requests_wait(sent) else None
            if lease_ends_at is None:
                wait([sent.response], 0.005)
            else:
                self.let_pass(5.0 if lease_ends_at > self.clock.time() else 1.0)
        return sent.response.result()

    def all_requests_wait(self, *more: Sent) -> bool:
        """Whether each request waits for another worker's lease, or for a thread of its own host that does."""
        in_progress = sum(not response.done() for response in {sent.response for sent in (*self.sent, *more)})
        return self.clock.sleeping() + self.hosts.waiting() >= in_progress

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
    def release_held_calls(self) -> None:
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
        """What a browser does when nothing goes wrong."""
        if self.gates:
            return
        self.api.heal()
        for number in range(2):
            self.send("/protected/", 0, expired=number == 0)
            self.response_arrives(len(self.sent) - 1, lost=False)

    # --- time

    @property
    def now(self) -> float:
        """Seconds by the clock of the site, which includes the time that the machine takes."""
        return self.clock.monotonic()

    @rule(seconds=strategies.sampled_from([1.0, 9.0, 29.0, 34.0, 100.0]))
    def time_passes(self, seconds: float) -> None:
        if self.held_since is not None:
            seconds = min(seconds, LONGEST_HOLD - (self.now - self.held_since))
        else:
            # The same is true for a refresh that is in progress now, which is slow on a busy machine.
            self.wait_for_refreshes()
        if seconds > 0:
            self.let_pass(seconds)

    def wait_for_refreshes(self) -> None:
        """Until no refresh is in progress. A request that waits for a dead worker's lease only needs time to pass.

        One that has run out, or is about to, may be claimed at any moment: that time passes in small steps.
        """
        give_up_at = time.monotonic() + 2 * PATIENCE_SECONDS
        while not all(sent.response.done() for sent in self.sent):
            assert time.monotonic() < give_up_at, "a refresh is still in progress"
            lease_ends_at = self.dead_lease_ends_at() if self.all_requests_wait() else None
            if lease_ends_at is None:
                time.sleep(0.005)
            elif lease_ends_at > self.clock.time() + 5.0:
                return
            else:
                self.let_pass(1.0)

    def dead_lease_ends_at(self) -> float | None:
        """The end of a dead worker's lease (`clock.time()`). It may have passed, if no request has claimed it since."""
        record = SessionRecord.objects.filter(lease_owner="dead").first()
        return record.lease_until.timestamp() if record is not None and record.lease_until is not None else None

    def let_pass(self, seconds: float) -> None:
        self.note_confirmations()
        for sent in self.sent:
            if sent.responded_at is None and sent.response.done():
                sent.responded_at = self.now
        self.clock.ahead += seconds
        self.api.advance_clock(seconds)

    # --- the thief

    @rule()
    def the_cookie_is_copied(self) -> None:
        if len(self.copies) < 3 and read_cookies(self.browser.take()) is not None:
            self.copies.append(self.browser.copy())

    @rule(which=WHICH, page=PAGES)
    def the_copy_is_used(self, which: int, page: str) -> None:
        if self.gates or not self.copies or self.theft_is_detected:
            return
        thief = self.share_handler(self.copies[which % len(self.copies)].copy())
        self.note_confirmations()
        session = read_cookies(thief.take())
        assert session is not None
        retired_at = self.retired.get(session.generation)
        out = retired_at is not None and self.now > retired_at + LEEWAY + 3
        response = self.wait_for(Sent(thief, page, self.threads.submit(self.get, thief, page, 1)))
        if SessionRecord.objects.filter(end_reason=EndReason.REUSED).exists():
            assert retired_at is not None, "the newest generation was treated as a copy"
            assert self.now >= retired_at + LEEWAY - 3, "a copy ended the session within the leeway"
            self.theft_is_detected = True
        elif out and page == "/protected/":
            # Its access token is invalid as well, because only expired ones are rotated.
            assert response.status_code != 200, "a generation that was retired long ago was accepted"

    # --- invariants

    @invariant()
    def no_call_is_held_for_long(self) -> None:
        """A refresh must not be held beyond its deadline, also on a busy machine: a lost response ends the session."""
        if self.held_since is not None and self.now - self.held_since >= LONGEST_HOLD:
            self.release_held_calls()

    def get(self, tab: Browser, page: str, host: int) -> HttpResponse:
        self.hosts.move_to(host)
        return tab.get(page)

    def note_confirmations(self) -> None:
        record = SessionRecord.objects.first()
        for generation in range(record.confirmed if record else 0):
            self.retired.setdefault(generation, self.now)

    def check(self, sent: Sent, response: HttpResponse) -> None:
        if self.theft_is_detected or SessionRecord.objects.filter(end_reason=EndReason.REUSED).exists():
            return
        if sent.page == "/protected/":
            # 502 if the tokens expire between a refresh and the repeated call.
            assert response.status_code in (200, 502, 503), f"an honest browser was sent to {response.headers}"
        else:
            assert response.json()["authenticated"]  # type: ignore[attr-defined]

    @invariant()
    def no_refresh_token_is_sent_twice(self) -> None:
        assert self.api.reuses == 0
        assert set(self.api.refresh_spends.values()) <= {1}

    @invariant()
    def nothing_but_theft_ends_the_session(self) -> None:
        for record in SessionRecord.objects.exclude(ended_at=None):
            assert record.end_reason == EndReason.REUSED
            assert self.copies, "reuse was detected although nothing was copied"

    def teardown(self) -> None:
        try:
            self.api.heal()
            self.release_held_calls()
            for sent in self.sent:
                self.wait_for(sent)
            if not SessionRecord.objects.exclude(ended_at=None).exists():
                self.let_pass(20)  # longer than any lease and any pause
                page = self.threads.submit(self.get, self.browser, "/protected/", 0)
                assert self.wait_for(Sent(self.browser, "/protected/", page)).status_code == 200
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
        machine: Any = type("Machine", (RotationModel,), parts)
        run_state_machine_as_test(machine, settings=MODEL_SETTINGS)


MODEL_SETTINGS = settings(
    max_examples=60,
    stateful_step_count=40,
    # Shrinking takes long: a failing schedule is printed as it was found.
    phases=[Phase.explicit, Phase.generate],
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
