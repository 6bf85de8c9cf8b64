"""`python -m tests.load.soak`: everything at random, for long. Nobody is to be signed out, and nothing is to grow.

Two hosts share a database. The workers of one are reloaded and killed all the time; those of the other live on, so that
it shows what they gather. The API is sick now and then, and all its tokens expire at once. It has a grace period: so
none of the windows that the README names is open, and each lost session is a defect. The seed decides who does what,
and not when: the same one gives a run of the same kind, and not the same run.

Exit status 1 when a session is lost, something grows, or a record stays behind.
"""

import argparse
import random
import secrets
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from tests.demo_api.server import Fault
from tests.load.people import Person
from tests.load.postgres import MISSING, PostgresServer, has_postgres
from tests.load.readings import Reading, read
from tests.load.sick_api import BAD_ANSWERS, GATEWAYS_PAGES, NO_REFUSALS
from tests.load.site import READ_SECONDS, Site
from tests.load.stage import GRACE_SECONDS, LENIENT_DIALECTS, LONG, Act, Stage

WORKERS, THREADS = 2, 8
PEOPLE = 8
ACCESS_SECONDS = 5
#: A reading after each; the first one is of the time to warm up.
ROUNDS = 5
MAX_PAUSE_SECONDS = 1.5
MAX_AWAY_SECONDS = 1.5
#: Beyond the noise of an allocator; one KB a request would be more in a few minutes.
MAX_GROWTH = 1.15
#: Below, it is all warming up.
SHORTEST_JUDGED_SECONDS = 240

_RECORDS = "FROM accounts_sessionrecord"
#: Who alone may end a session here.
_ENDS_OF_THEIR_OWN = {"signed-out", "replaced"}


class Grown(AssertionError):
    """Something was gathered or left behind that should not have been."""


class Database:
    """What the two hosts share, looked at from outside: PostgreSQL where there is a server, else SQLite."""

    def __init__(self, stage: Stage) -> None:
        self._server = stage.postgres
        self._path = stage.database
        self.url = f"sqlite:///{self._path}" if self._server is None else self._server.create_database("soak")

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        if self._server is None:
            with closing(sqlite3.connect(self._path, timeout=20)) as connection, connection:
                return connection.execute(statement).fetchall()
        with self._server.connect("soak") as server:
            cursor = server.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def count(self, condition: str) -> int:
        """How many sessions are like that."""
        return int(self.query(f"SELECT count(*) {_RECORDS} WHERE {condition}")[0][0])

    @property
    def connections(self) -> int | None:
        """Those of the hosts; None where nobody keeps count."""
        if self._server is None:
            return None
        statement = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'soak' AND pid <> pg_backend_pid()"
        return int(self.query(statement)[0][0])


class Trouble:
    """What goes wrong, at random: the API, the tokens, and the workers of one host."""

    def __init__(self, act: Act, site: Site, dice: random.Random) -> None:
        self.counts: Counter[str] = Counter()
        self._act = act
        self._site = site
        self._dice = dice
        self._bad_answers = list({**BAD_ANSWERS, **GATEWAYS_PAGES, **NO_REFUSALS["token-pair"]}.values())

    def make(self, until: threading.Event) -> None:
        """One thing after another; at the end the API is well."""
        troubles: dict[Callable[[], object], float] = {
            self._answer_badly: 6,
            self._lose_answers: 3,
            self._take_too_long: 1,
            self._expire_all: 4,
            self._take_api_away: 1,
            self._kill_a_worker: 4,
            self._reload: 1,
        }
        while not until.wait(self._dice.uniform(0, MAX_PAUSE_SECONDS)):
            (trouble,) = self._dice.choices(list(troubles), list(troubles.values()))
            self.counts[trouble.__name__.strip("_").replace("_", " ")] += 1
            trouble()
        self._act.api.heal()

    def _answer_badly(self) -> None:
        self._act.api.heal()
        self._act.fail_refresh(self._dice.choice(self._bad_answers), times=self._dice.randint(1, 5))
        self._act.api.fail("GET", "/protected-route", self._dice.choice(self._bad_answers))

    def _lose_answers(self) -> None:
        self._act.fail_refresh(Fault.lose_answer(), times=self._dice.randint(1, 3))

    def _take_too_long(self) -> None:
        self._act.fail_refresh(Fault.delay(READ_SECONDS * 1.5))

    def _expire_all(self) -> None:
        self._act.expire()

    def _take_api_away(self) -> None:
        self._act.api.stop_serving()
        time.sleep(self._dice.uniform(0, MAX_AWAY_SECONDS))
        self._act.api.start_serving()

    def _kill_a_worker(self) -> None:
        self._site.kill(self._dice.choice(self._site.workers))

    def _reload(self) -> None:
        self._site.reload()


@dataclass(frozen=True, slots=True)
class Stand:
    """How things stand after a round, while nobody asks for anything."""

    steady: Reading
    masters: Reading
    connections: int | None

    def growth_since(self, first: "Stand") -> list[str]:
        """What has grown, in words. Each thread's first rotation may bring a socket, or the three files of SQLite."""
        found = []
        room = WORKERS * THREADS
        now, then = self.steady, first.steady
        for what, more, allowed in (
            ("threads of the steady workers", now.threads - then.threads, room),
            ("files of the steady workers", now.files - then.files, 3 * room),
            ("sockets of the steady workers", now.sockets - then.sockets, 2 * room),
            ("files and sockets of gunicorn's masters", self.masters.opened - first.masters.opened, 2),
            ("connections to the database", (self.connections or 0) - (first.connections or 0), 2 * room),
        ):
            if more > allowed:
                found.append(f"{what}: {more} more")
        return found

    def memory_growth_since(self, first: "Stand") -> float:
        return self.steady.memory / first.steady.memory

    def __str__(self) -> str:
        connections = "" if self.connections is None else f"; {self.connections} connections to the database"
        return f"steady workers: {self.steady}; masters: {self.masters}{connections}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.load.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10, help="of load (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="who does what (default: another one each time)")
    parser.add_argument("--people", type=int, default=PEOPLE, help="at once (default: %(default)s)")
    parser.add_argument("--sqlite", action="store_true", help="also where there is a PostgreSQL server")
    options = parser.parse_args()
    seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    if options.sqlite:
        return _report(lambda: soak(options.minutes * 60, seed, people=options.people))
    if not has_postgres():
        print(MISSING)
        return _report(lambda: soak(options.minutes * 60, seed, people=options.people))
    with PostgresServer() as server:
        return _report(lambda: soak(options.minutes * 60, seed, people=options.people, postgres=server))


def _report(run: Callable[[], None]) -> int:
    try:
        run()
    except Exception as error:  # noqa: BLE001  # whatever broke it, its notes say more than its traceback
        print(f"BROKEN: {type(error).__name__}: {error}", *getattr(error, "__notes__", []), sep="\n", file=sys.stderr)
        return 1
    return 0


def soak(
    seconds: float, seed: int, *, people: int = PEOPLE, rounds: int = ROUNDS, postgres: PostgresServer | None = None
) -> None:
    """So much load, in so many rounds; raises AssertionError where a promise is broken."""
    with Stage(LONG, postgres) as stage:
        database = Database(stage)
        environment = {"API_DIALECT": LENIENT_DIALECTS["token-pair"], "API_SESSION_LEEWAY": "30"}
        steady, recycled = (
            stage.another_site(workers=WORKERS, preload=preload, database_url=database.url, environment=environment)
            for preload in (True, False)
        )
        steady.migrate()
        hosts = [steady, recycled]
        with (
            steady,
            recycled,
            Act(stage, hosts, access_ttl=ACCESS_SECONDS, grace_seconds=GRACE_SECONDS, keep_calls=False) as act,
        ):
            dice = [random.Random(f"{seed}/{number}") for number in range(people + 1)]
            trouble = Trouble(act, recycled, dice.pop())
            crowd = [Person(act, their_dice, steady=steady.port) for their_dice in dice]
            stands = []
            for number in range(rounds):
                _let_live(crowd, trouble, seconds / rounds)
                stands.append(_stand(steady, recycled, database))
                _print_round(number + 1, crowd, trouble, database, stands[-1])
            _check_losses(crowd, act, database)
            _check_growth(stands, recycled, seconds)
            _check_records(crowd, act, steady, database)
        print(f"{act.figures.requests} requests, {act.figures.lost} sessions lost")


def _let_live(crowd: list[Person], trouble: Trouble, seconds: float) -> None:
    over = threading.Event()
    with ThreadPoolExecutor(len(crowd) + 1) as pool:
        working = [pool.submit(person.live, over) for person in crowd] + [pool.submit(trouble.make, over)]
        give_up_at = time.monotonic() + seconds
        while time.monotonic() < give_up_at and not any(work.done() for work in working):
            time.sleep(0.1)
        over.set()
    for work in working:
        work.result()


def _stand(steady: Site, recycled: Site, database: Database) -> Stand:
    return Stand(read(steady.workers), read([steady.pid, recycled.pid]), database.connections)


def _print_round(number: int, crowd: list[Person], trouble: Trouble, database: Database, stand: Stand) -> None:
    [[rotations]] = database.query(f"SELECT sum(generation) {_RECORDS}")
    lost, broken = sum(len(person.losses) for person in crowd), sum(person.broken for person in crowd)
    print(
        f"round {number}: {database.count('1 = 1')} sessions begun, {rotations} rotations, {lost} sessions lost",
        f"and {broken} answers, with their workers",
        f"\n  {stand}\n ",
        ", ".join(f"{times} x {what}" for what, times in sorted(trouble.counts.items())),
        flush=True,
    )


def _check_losses(crowd: list[Person], act: Act, database: Database) -> None:
    losses = [loss for person in crowd for loss in person.losses]
    assert not losses, "sessions were lost:\n" + "\n".join(losses)
    for person in crowd:
        act.expect_alive(person.browser)
    reasons = dict(database.query(f"SELECT end_reason, count(*) {_RECORDS} WHERE end_reason <> '' GROUP BY 1"))
    assert set(reasons) <= _ENDS_OF_THEIR_OWN, f"sessions ended by something else than their users: {reasons}"
    left = "ended_at IS NOT NULL AND (sealed <> '' OR lease_until IS NOT NULL)"
    assert not database.count(left), "an ended session still has a sealed copy or a lease"


def _check_growth(stands: list[Stand], recycled: Site, seconds: float) -> None:
    first, last = stands[0], stands[-1]
    grown = last.growth_since(first)
    memory = last.memory_growth_since(first)
    if seconds < SHORTEST_JUDGED_SECONDS:
        print("memory: not judged, as it is all warming up in so short a time")
    elif memory > MAX_GROWTH:
        grown.append(f"memory of the steady workers: {memory:.2f} times that after the first round")
    if len(recycled.workers) != WORKERS:
        grown.append(f"{len(recycled.workers)} workers in place of {WORKERS}")
    if grown:
        raise Grown("; ".join(grown))


def _check_records(crowd: list[Person], act: Act, site: Site, database: Database) -> None:
    """Let all refresh tokens expire that nobody renews: of all records, those of the living sessions stay."""
    database.query(
        "UPDATE accounts_sessionrecord SET expires_at = '2000-01-01 00:00:00', expiry_check_at = '2000-01-01 00:00:00'"
        " WHERE ended_at IS NULL"
    )
    act.expire()
    for person in crowd:
        act.expect_alive(person.browser)
    pruned = site.manage("prune_sessions", "--keep-days", "0")
    assert pruned.returncode == 0, pruned.stderr
    print(pruned.stdout.strip())
    left, leased = database.count("1 = 1"), database.count("lease_until IS NOT NULL")
    if left != len(crowd) or leased:
        raise Grown(f"{left} records for {len(crowd)} living sessions, {leased} of them leased")


if __name__ == "__main__":
    sys.exit(main())
