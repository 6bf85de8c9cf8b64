"""Scenarios: a PostgreSQL cluster of two hosts loses its primary under load, and the standby is promoted."""

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.load.browser import Answer
from tests.load.figures import Figures
from tests.load.people import Person
from tests.load.postgres import PostgresServer, Standby
from tests.load.site import Site
from tests.load.stage import Act, Stage
from tests.load.workers import LEASE_SECONDS

PEOPLE = 8
ACCESS_SECONDS = 1.0
#: How long nobody promotes the standby: less than a lease lasts, and more.
AWAY_SECONDS = 3.0
AWAY_LONG_SECONDS = LEASE_SECONDS + 4.0
#: How far the asynchronous standby is behind.
LAG_SECONDS = 0.5
#: What config/README.md promises.
LONGEST_SECONDS = 15.0
WELL_SECONDS = 5.0
#: How long everything is watched after that.
AFTER_SECONDS = 5.0
_POLL_SECONDS = 0.1
#: Only users may end sessions here.
_ENDS_OF_THEIR_OWN = {"", "signed-out", "replaced"}


def synchronous_and_the_primary_is_killed(stage: Stage) -> Figures:
    """No session is lost."""
    return _fail_over(stage, synchronous=True)


def synchronous_and_the_primary_is_killed_for_long(stage: Stage) -> Figures:
    """The standby is promoted when all leases have run out: a pair that was not stored yet is not lost either."""
    return _fail_over(stage, synchronous=True, away_seconds=AWAY_LONG_SECONDS)


def synchronous_and_the_primary_freezes(stage: Stage) -> Figures:
    """The same with a primary that accepts everything and says nothing. It is killed before the promotion."""
    return _fail_over(stage, synchronous=True, freezes=True)


def asynchronous_and_the_primary_is_killed(stage: Stage) -> Figures:
    """The last commits are lost, and only sessions that they concern may be."""
    return _fail_over(stage, synchronous=False)


def asynchronous_and_the_primary_freezes(stage: Stage) -> Figures:
    """The same with a frozen primary."""
    return _fail_over(stage, synchronous=False, freezes=True)


def _fail_over(
    stage: Stage, *, synchronous: bool, freezes: bool = False, away_seconds: float = AWAY_SECONDS
) -> Figures:
    with (
        _cluster() as cluster,
        _sites(stage, cluster) as sites,
        # In the window of asynchronous replication, the API gets a token that it has seen.
        _WatchedAct(stage, sites, may_reuse=not synchronous, access_ttl=ACCESS_SECONDS) as act,
    ):
        if synchronous:
            cluster.make_synchronous()
        crowd = [Person(act, random.Random(), steady=act.ports[0]) for _ in range(PEOPLE)]
        with _living(crowd), act.watching_health():
            time.sleep(stage.scale.seconds)
            cluster.lose_primary(freezes=freezes)
            time.sleep(away_seconds)
            cluster.promote()
            time.sleep(WELL_SECONDS + AFTER_SECONDS)
        assert not any(person.broken for person in crowd), "a connection broke"
        _judge_losses(act, [loss for person in crowd for loss in person.losses], cluster)
        act.judge_times(cluster.promoted_at)
        for person in crowd:
            act.expect_alive(person.browser)
    return act.figures


@dataclass(frozen=True, slots=True)
class _Records:
    """What a server has stored of the sessions: how each stands, and why those ended that have."""

    states: dict[str, tuple[Any, ...]]
    end_reasons: dict[str, str]


class _Cluster:
    """A primary and its standby, one of which the sites use."""

    def __init__(self, primary: PostgresServer, standby: Standby) -> None:
        self.primary = primary
        self.standby = standby
        self.is_synchronous = False
        #: time.monotonic()
        self.promoted_at = 0.0
        self._before = _Records({}, {})

    @property
    def url(self) -> str:
        """With both hosts; the site uses the one that accepts writes."""
        hosts = f"{self.primary.address},{self.standby.address}"
        return self.primary.url("site").replace(self.primary.address, hosts) + "?target_session_attrs=read-write"

    def make_synchronous(self) -> None:
        self.is_synchronous = True
        self.primary.set_synchronous_standby("standby")

    def lose_primary(self, *, freezes: bool) -> None:
        if not self.is_synchronous:
            self.standby.cut_off()
            time.sleep(LAG_SECONDS)
        if freezes:
            self.primary.freeze()
        else:
            self.primary.kill()

    def promote(self) -> None:
        """Fence the old primary first: a frozen one that goes on would be used again."""
        self.primary.kill()
        self._before = self._read(self.standby)
        self.standby.promote()
        self.promoted_at = time.monotonic()

    def read_window(self) -> set[str]:
        """The sessions of whose changes the standby missed some, as the old primary has them on its disk."""
        self.primary.move()
        self.primary.start()
        had = self._read(self.primary).states
        return {session for session, state in had.items() if self._before.states.get(session) != state}

    def read_end_reasons(self) -> dict[str, str]:
        """By the new primary."""
        return self._read(self.standby).end_reasons

    def _read(self, server: PostgresServer) -> _Records:
        with server.connect("site") as connection:
            rows = connection.execute(
                "SELECT id::text, end_reason, generation, lease_owner, ended_at FROM accounts_sessionrecord"
            ).fetchall()
        return _Records({row[0]: row[2:] for row in rows}, {row[0]: row[1] for row in rows})


class _WatchedAct(Act):
    """Remembers each answer, and when each site was ready."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.answers: list[Answer] = []
        #: When, at which port, and for how long it was asked.
        self.checks: list[tuple[float, bool, float]] = []

    def expect(self, answer: Answer, *statuses: int) -> Answer:
        self.answers.append(answer)
        return super().expect(answer, *statuses)

    @contextmanager
    def watching_health(self) -> Iterator[None]:
        over = threading.Event()

        def watch(site: Site) -> None:
            while not over.wait(_POLL_SECONDS):
                started = time.monotonic()
                is_ready = site.is_ready()
                self.checks.append((started, is_ready, time.monotonic() - started))

        with ThreadPoolExecutor(len(self.sites)) as pool:
            watching = [pool.submit(watch, site) for site in self.sites]
            try:
                yield
            finally:
                over.set()
        for work in watching:
            work.result()

    def judge_times(self, promoted_at: float) -> None:
        slowest = max(answer.seconds for answer in self.answers)
        slowest_check = max(seconds for _, _, seconds in self.checks)
        not_ready = [started - promoted_at for started, is_ready, _ in self.checks if not is_ready]
        failed = [answer.started - promoted_at for answer in self.answers if answer.status == 503]
        self.figures.notes.append(
            f"slowest request {slowest:.1f} s, slowest check {slowest_check:.1f} s; seconds from the promotion to the "
            f"last request of {len(failed)} that got a 503: {_last(failed)}, to the last check that failed: "
            f"{_last(not_ready)}"
        )
        assert max(slowest, slowest_check) < LONGEST_SECONDS, "a request waited for too long"
        assert max([*failed, *not_ready], default=0) < WELL_SECONDS, "not well again in time"


def _last(moments: list[float]) -> str:
    return f"{max(moments):.1f}" if moments else "none"


def _judge_losses(act: Act, losses: list[str], cluster: _Cluster) -> None:
    """With synchronous replication none. Without, only sessions of whose changes the standby missed some."""
    window = cluster.read_window()
    reasons = cluster.read_end_reasons()
    ended = {session for session, reason in reasons.items() if reason not in _ENDS_OF_THEIR_OWN}
    vanished = window - set(reasons)
    act.figures.notes.append(
        f"the standby missed changes of {len(window)} sessions, and {len(vanished)} sign-ins; "
        f"{len(ended)} sessions ended by something else than their users, {len(losses)} users noticed"
    )
    if cluster.is_synchronous:
        assert not losses, f"sessions were lost: {losses}"
        assert not ended, f"sessions ended: {[reasons[session] for session in ended]}"
        return
    assert ended <= window, "a session was lost outside of the window"
    assert len(losses) <= len(ended) + len(vanished), f"more sessions were lost than ended: {losses}"
    act.figures.in_window, act.figures.lost = act.figures.lost, 0


@contextmanager
def _cluster() -> Iterator[_Cluster]:
    with PostgresServer() as primary:
        Site(database_url=primary.create_database("site"), api_url="http://127.0.0.1:1").migrate()
        with Standby(primary) as standby:
            yield _Cluster(primary, standby)


@contextmanager
def _sites(stage: Stage, cluster: _Cluster) -> Iterator[list[Site]]:
    """Two hosts."""
    first, second = (stage.another_site(workers=2, database_url=cluster.url) for _ in range(2))
    with first, second:
        yield [first, second]


@contextmanager
def _living(crowd: list[Person]) -> Iterator[None]:
    over = threading.Event()
    with ThreadPoolExecutor(len(crowd)) as pool:
        working = [pool.submit(person.live, over) for person in crowd]
        try:
            yield
        finally:
            over.set()
    for work in working:
        work.result()
