"""A clock that is set back or ahead, the database's or its host's, ends no session and hides no copied cookie."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db.models.functions import Now

from accounts.conf import conf
from accounts.models import EndReason, SessionRecord
from accounts.models.clocks import Moment, host_time
from accounts.models.rotation_statements import MAX_RETIRED
from accounts.rotation.lease import is_leased_to_another, lease_has_run_out
from accounts.rotation.rotate import TAKE_OVER_SECONDS
from tests.accounts.rotation.clocks import Clock, movable_clock
from tests.accounts.rotation.helpers import rotate_and_confirm
from tests.accounts.rotation.hosts import several_hosts
from tests.browsers import PATIENCE_SECONDS, Answer, Browser, wait_until
from tests.demo_api.server import DemoApi, Fault, Gate

MINUTES, HOUR, YEAR = 300.0, 3600.0, 365 * 86400.0
BACK = pytest.mark.parametrize("seconds", [MINUTES, HOUR, YEAR], ids=["minutes", "an hour", "a year"])
#: Where the clock is set: only the database's, or with SQLite that of the site's own host.
WHERE = pytest.mark.parametrize("on_own_host", [False, True], ids=["another host", "the own host"])


@pytest.fixture
def clock() -> Iterator[Clock]:
    with movable_clock() as clock:
        yield clock


def set_clock(clock: Clock, seconds: float, *, on_own_host: bool) -> None:
    clock.database_ahead += seconds
    if on_own_host:
        clock.host_ahead += seconds


def come_from_another_host() -> None:
    """As if a host that has booted at another time had stored the host's times."""
    record = SessionRecord.objects.get()
    times = {generation: ["another", 0, at] for generation, (_, _, at) in (record.retired_host_times or {}).items()}
    SessionRecord.objects.update(retired_host_times=times)


class TestPausesAndLeases:
    @BACK
    def test_a_pause_that_ends_later_than_any_can_does_not_count(
        self, clock: Clock, signed_in: Browser, api: DemoApi, seconds: float
    ) -> None:
        api.expire_access_tokens()
        api.fail("POST", "/auth/refresh", Fault.answer(503, headers={"Retry-After": "60"}))
        assert signed_in.open_page().status_code == 503

        clock.database_ahead -= seconds

        assert signed_in.is_signed_in()
        assert api.reuses == 0

    def test_a_dialect_cannot_make_a_longer_pause(self, signed_in: Browser) -> None:
        session_id = signed_in.session().id
        assert SessionRecord.objects.claim(session_id, generation=0, owner="a-request", lease_seconds=20)

        assert SessionRecord.objects.release(session_id, owner="a-request", retry_in=3600)

        record = SessionRecord.objects.fetch(session_id)
        assert record is not None
        assert 50 < record.retry_in() <= 60

    @BACK
    @WHERE
    def test_the_lease_of_a_worker_that_died_ends_when_it_would_have(
        self, clock: Clock, signed_in: Browser, api: DemoApi, seconds: float, on_own_host: bool
    ) -> None:
        session_id = signed_in.session().id
        assert SessionRecord.objects.claim(session_id, generation=0, owner="dead", lease_seconds=10)
        set_clock(clock, -seconds, on_own_host=on_own_host)
        api.expire_access_tokens()
        with ThreadPoolExecutor() as threads:
            page = threads.submit(signed_in.open_page)
            wait_until(lambda: clock.sleeping() == 1)
            assert api.count("POST", "/auth/refresh") == 0
            clock.ahead += 11
            assert page.result(PATIENCE_SECONDS).status_code == 200

        assert api.count("POST", "/auth/refresh") == 1

    @BACK
    def test_a_lease_of_the_release_before_that_ends_later_than_any_can_does_not_count(
        self, clock: Clock, signed_in: Browser, api: DemoApi, seconds: float
    ) -> None:
        SessionRecord.objects.update(lease_owner="old", lease_until=Now() + timedelta(seconds=seconds))
        api.expire_access_tokens()
        clock.hurry()
        began_at = clock.monotonic()

        assert signed_in.is_signed_in()
        assert clock.monotonic() - began_at >= TAKE_OVER_SECONDS

    def test_a_lease_of_the_release_before_counts(self, clock: Clock, signed_in: Browser) -> None:
        session_id = signed_in.session().id
        assert SessionRecord.objects.claim(session_id, generation=0, owner="new", lease_seconds=1)
        clock.ahead += HOUR
        # That release leaves the host's time of the lease before.
        SessionRecord.objects.update(lease_owner="old", lease_until=Now() + timedelta(seconds=conf.lease_seconds))

        record = SessionRecord.objects.fetch(session_id)

        assert record is not None
        assert is_leased_to_another(record, "new")
        assert not lease_has_run_out(record)

    def test_a_longer_lease_of_a_host_with_other_timeouts_counts(self, signed_in: Browser) -> None:
        session_id = signed_in.session().id
        SessionRecord.objects.claim(session_id, generation=0, owner="a", lease_seconds=20 * conf.lease_seconds)

        record = SessionRecord.objects.fetch(session_id)

        assert record is not None
        assert not lease_has_run_out(record)

    @pytest.mark.parametrize("seconds", [-YEAR, -HOUR, -10, -0.1, 0.1, 45, HOUR, YEAR])
    @WHERE
    def test_a_refresh_that_is_under_way_stays_the_only_one(
        self, clock: Clock, signed_in: Browser, api: DemoApi, seconds: float, on_own_host: bool
    ) -> None:
        # A token that seems to have come during a call would not be renewed for the 401 to that call.
        signed_in.age(1)
        other = signed_in.copy()
        api.expire_access_tokens()

        def open_on_another_host() -> Answer:
            hosts.move_to(1)
            return other.open_page()

        with several_hosts(2) as hosts, Gate() as gate, ThreadPoolExecutor() as threads:
            api.fail("POST", "/auth/refresh", Fault.hold_after(gate))
            pages: list[Future[Answer]] = [threads.submit(signed_in.open_page)]
            assert gate.reached.wait(PATIENCE_SECONDS)
            set_clock(clock, seconds, on_own_host=on_own_host)
            pages.append(threads.submit(open_on_another_host))
            wait_until(lambda: clock.sleeping() == 1)
            gate.release()
            statuses = [page.result(PATIENCE_SECONDS).status_code for page in pages]

        assert statuses == [200, 200]
        assert api.count("POST", "/auth/refresh") == 1
        assert api.reuses == 0

    def test_the_lease_of_a_host_that_is_seconds_ahead_counts_after_the_databases_clock_is_set_back(
        self, clock: Clock, signed_in: Browser
    ) -> None:
        session_id = signed_in.session().id
        assert SessionRecord.objects.claim(session_id, generation=0, owner="another", lease_seconds=20)
        lease = SessionRecord.objects.get().lease_host_time
        assert lease is not None
        SessionRecord.objects.update(lease_host_time=["another", 20, "another boot", 0, lease[-1] + 5])

        clock.database_ahead -= HOUR

        record = SessionRecord.objects.fetch(session_id)
        assert record is not None
        assert not lease_has_run_out(record)
        clock.ahead += 26
        record = SessionRecord.objects.fetch(session_id)
        assert record is not None
        assert lease_has_run_out(record)

    def test_a_lease_that_was_renewed_meanwhile_is_not_taken_over(self, signed_in: Browser) -> None:
        session_id = signed_in.session().id
        SessionRecord.objects.claim(session_id, generation=0, owner="a", lease_seconds=0)
        run_out = SessionRecord.objects.fetch(session_id)
        assert run_out is not None
        assert lease_has_run_out(run_out)
        assert SessionRecord.objects.renew(session_id, owner="a", lease_seconds=20)

        claimed = SessionRecord.objects.claim(session_id, generation=0, owner="b", lease_seconds=20, run_out=run_out)

        assert not claimed


class TestTheGracePeriod:
    @pytest.mark.parametrize("seconds", [-YEAR, -HOUR, -MINUTES, 45, MINUTES, HOUR, YEAR])
    @WHERE
    def test_a_late_request_is_no_theft_and_a_copied_cookie_still_is(
        self, clock: Clock, signed_in: Browser, api: DemoApi, seconds: float, on_own_host: bool
    ) -> None:
        late, thief = signed_in.copy(), signed_in.copy()
        rotate_and_confirm(signed_in, api)

        set_clock(clock, seconds, on_own_host=on_own_host)
        clock.ahead += 20

        assert late.is_signed_in()
        assert late.session().generation == 1
        # The other confirmations of this time do not open the door again.
        rotate_and_confirm(signed_in, api)
        clock.ahead += 11
        assert not thief.is_signed_in()
        assert SessionRecord.objects.get().end_reason == EndReason.REUSED

    @pytest.mark.parametrize("seconds", [-HOUR, HOUR])
    def test_it_is_the_same_if_another_host_has_confirmed(
        self, clock: Clock, signed_in: Browser, api: DemoApi, seconds: float
    ) -> None:
        late, thief = signed_in.copy(), signed_in.copy()
        rotate_and_confirm(signed_in, api)
        come_from_another_host()

        clock.database_ahead += seconds
        clock.ahead += 20

        assert late.is_signed_in()
        clock.ahead += 11
        assert not thief.is_signed_in()

    @pytest.mark.parametrize("seconds", [-59, 59])
    def test_hosts_whose_clocks_differ_by_less_than_a_minute_use_the_databases(
        self, clock: Clock, signed_in: Browser, api: DemoApi, seconds: float
    ) -> None:
        late, thief = signed_in.copy(), signed_in.copy()
        rotate_and_confirm(signed_in, api)
        come_from_another_host()

        clock.host_ahead += seconds
        clock.ahead += 29

        assert late.is_signed_in()
        clock.ahead += 2
        assert not thief.is_signed_in()

    @WHERE
    def test_generations_that_were_retired_long_ago_stay_retired(
        self, clock: Clock, signed_in: Browser, api: DemoApi, on_own_host: bool
    ) -> None:
        thief = signed_in.copy()
        rotate_and_confirm(signed_in, api)
        clock.ahead += 2 * HOUR
        set_clock(clock, -3 * HOUR, on_own_host=on_own_host)
        for _ in range(3):
            rotate_and_confirm(signed_in, api)
            clock.ahead += 5

        assert not thief.is_signed_in()

    def test_without_a_hosts_clock_the_next_confirmation_ends_what_a_clock_that_was_set_back_began(
        self, clock: Clock, signed_in: Browser, api: DemoApi
    ) -> None:
        """A host of the release before has confirmed."""
        late, thief = signed_in.copy(), signed_in.copy()
        rotate_and_confirm(signed_in, api)
        SessionRecord.objects.update(retired_host_times=None)

        clock.database_ahead -= YEAR
        clock.ahead += 40

        assert late.is_signed_in()
        rotate_and_confirm(signed_in, api)
        clock.ahead += 31
        assert not thief.is_signed_in()

    def test_the_lists_stay_short(self, clock: Clock, signed_in: Browser, api: DemoApi) -> None:
        for newest in range(1, 2 * MAX_RETIRED):
            rotate_and_confirm(signed_in, api)
            clock.ahead += 700
            record = signed_in.record()
            generations = [generation for generation, _ in record.retired]
            assert generations == list(range(generations[0], newest + 1))
            assert len(generations) <= MAX_RETIRED
            assert list(record.retired_host_times or {}) == [str(generation) for generation in generations]

        assert generations[0] > 1, "the oldest ones are gone"


NOW = Moment(database=10_000.0, monotonic=500.0, time_of_day=20_000.0)


@pytest.mark.parametrize(
    ("by_database", "by_host", "expected"),
    [
        (31, None, 31),
        (31, 31, 31),
        (31, -29, 31),
        (31, 91, 31),
        (-61, None, None),
        (-61, 31, 31),
        (3631, 31, 31),
        (3631, -61, 3631),
        (31, 3631, 31),
        (-3600, -3600, None),
    ],
)
@pytest.mark.parametrize("same_boot", [True, False])
def test_which_clock_counts(by_database: float, by_host: float | None, expected: float | None, same_boot: bool) -> None:
    stored = None
    if by_host is not None:
        boot_id, *_ = host_time(0, 0)
        stored = [boot_id, 500.0 - by_host, 0.0] if same_boot else ["another", 0.0, 20_000.0 - by_host]

    assert NOW.seconds_since(10_000.0 - by_database, stored, earliest=-60) == expected


@pytest.mark.parametrize(("same_boot", "expected"), [(True, 1), (False, 46)])
def test_within_one_boot_the_monotonic_clock_counts_however_little_the_database_says_more(
    same_boot: bool, expected: float
) -> None:
    boot_id, *_ = host_time(0, 0)
    stored = [boot_id, 499.0, 0.0] if same_boot else ["another", 0.0, 19_999.0]

    assert NOW.seconds_since(10_000.0 - 46, stored, earliest=-60) == expected
