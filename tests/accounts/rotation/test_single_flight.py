"""Within one process, one thread does the work and the others share what comes of it."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from accounts.rotation.single_flight import NoResult, SingleFlight

PATIENCE_SECONDS = 30
WAITERS = 8


class Key:
    """A key that tells when somebody looks it up, which happens under the lock of the flights."""

    def __init__(self) -> None:
        self.looked_up = threading.Semaphore(0)

    def __hash__(self) -> int:
        self.looked_up.release()
        return 1

    def await_lookups(self, count: int) -> None:
        for _ in range(count):
            assert self.looked_up.acquire(timeout=PATIENCE_SECONDS)


class Work:
    """Work that ends when it is told to."""

    def __init__(self, result: str | BaseException) -> None:
        self.begun, self.may_end = threading.Event(), threading.Event()
        self.times = 0
        self._result = result

    def __call__(self) -> str:
        self.times += 1
        self.begun.set()
        assert self.may_end.wait(PATIENCE_SECONDS)
        if isinstance(self._result, BaseException):
            raise self._result
        return self._result


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(WAITERS + 2) as pool:
        yield pool


@pytest.fixture
def flights() -> SingleFlight[str]:
    return SingleFlight()


def never() -> str:
    raise AssertionError("somebody else is at this work already")


def fly(
    pool: ThreadPoolExecutor, flights: SingleFlight[str], work: Work
) -> tuple[Future[tuple[str, bool]], list[Future[tuple[str, bool]]]]:
    """One thread that does the work, and others that came while it was at it. All have ended."""
    key = Key()
    worker = pool.submit(flights.share, key, work, wait_seconds=PATIENCE_SECONDS)
    assert work.begun.wait(PATIENCE_SECONDS)
    key.await_lookups(2)  # the look for a flight, and the beginning of one
    waiters = [pool.submit(flights.share, key, never, wait_seconds=PATIENCE_SECONDS) for _ in range(WAITERS)]
    key.await_lookups(WAITERS)
    work.may_end.set()
    for future in (worker, *waiters):
        future.exception(PATIENCE_SECONDS)
    return worker, waiters


def test_one_thread_does_the_work_and_the_others_get_its_result(
    pool: ThreadPoolExecutor, flights: SingleFlight[str]
) -> None:
    work = Work("result")

    worker, waiters = fly(pool, flights, work)

    assert work.times == 1
    assert worker.result() == ("result", True)
    assert [waiter.result() for waiter in waiters] == [("result", False)] * WAITERS


@pytest.mark.parametrize("error", [ValueError("failed"), KeyboardInterrupt()], ids=["an error", "an interruption"])
def test_the_others_share_a_failure_too(
    pool: ThreadPoolExecutor, flights: SingleFlight[str], error: BaseException
) -> None:
    worker, waiters = fly(pool, flights, Work(error))

    assert worker.exception() is error
    for waiter in waiters:
        no_result = waiter.exception()
        assert isinstance(no_result, NoResult)
        assert no_result.error is error


def test_after_a_failure_the_next_one_tries_again(flights: SingleFlight[str]) -> None:
    with pytest.raises(ZeroDivisionError):
        flights.share("key", lambda: str(1 // 0), wait_seconds=0)

    assert flights.share("key", lambda: "result", wait_seconds=0) == ("result", True)


def test_a_result_is_not_kept(flights: SingleFlight[str]) -> None:
    assert flights.share("key", lambda: "first", wait_seconds=0) == ("first", True)
    assert flights.share("key", lambda: "second", wait_seconds=0) == ("second", True)


def test_an_empty_result_is_one(pool: ThreadPoolExecutor, flights: SingleFlight[str]) -> None:
    _, waiters = fly(pool, flights, Work(""))

    assert [waiter.result() for waiter in waiters] == [("", False)] * WAITERS


def test_who_does_not_want_to_wait_learns_that_somebody_is_at_it(
    pool: ThreadPoolExecutor, flights: SingleFlight[str]
) -> None:
    work = Work("result")
    worker = pool.submit(flights.share, "key", work, wait_seconds=0)
    assert work.begun.wait(PATIENCE_SECONDS)

    with pytest.raises(NoResult) as caught:
        flights.share("key", never, wait_seconds=0)

    assert caught.value.error is None
    assert not worker.done()
    work.may_end.set()
    assert worker.result(PATIENCE_SECONDS) == ("result", True)


def test_different_keys_do_not_wait_for_each_other(pool: ThreadPoolExecutor, flights: SingleFlight[str]) -> None:
    work = Work("slow")
    slow = pool.submit(flights.share, ("session", 1), work, wait_seconds=0)
    assert work.begun.wait(PATIENCE_SECONDS)

    assert flights.share(("session", 2), lambda: "quick", wait_seconds=0) == ("quick", True)

    assert not slow.done()
    work.may_end.set()
    assert slow.result(PATIENCE_SECONDS) == ("slow", True)


def test_two_sets_of_flights_do_not_know_each_other(pool: ThreadPoolExecutor, flights: SingleFlight[str]) -> None:
    work = Work("result")
    worker = pool.submit(flights.share, "key", work, wait_seconds=0)
    assert work.begun.wait(PATIENCE_SECONDS)
    others: SingleFlight[str] = SingleFlight()

    assert others.share("key", lambda: "other", wait_seconds=0) == ("other", True)

    work.may_end.set()
    worker.result(PATIENCE_SECONDS)
