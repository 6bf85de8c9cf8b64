"""Within one process, one thread does the work and the others share its result or its failure."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from accounts.rotation.single_flight import NoResult, SingleFlight

PATIENCE_SECONDS = 30
WAITERS = 8


class Key:
    """A key that counts its look-ups, which `SingleFlight` makes under its lock."""

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
def calls() -> SingleFlight[str]:
    return SingleFlight()


def never() -> str:
    raise AssertionError("another thread is doing this work already")


def share_with_waiters(
    pool: ThreadPoolExecutor, calls: SingleFlight[str], work: Work
) -> tuple[Future[tuple[str, bool]], list[Future[tuple[str, bool]]]]:
    """One thread that does the work, and others that come meanwhile. All have ended."""
    key = Key()
    worker = pool.submit(calls.share, key, work, wait_seconds=PATIENCE_SECONDS)
    assert work.begun.wait(PATIENCE_SECONDS)
    key.await_lookups(2)  # once to find a running call, once to add its own
    waiters = [pool.submit(calls.share, key, never, wait_seconds=PATIENCE_SECONDS) for _ in range(WAITERS)]
    key.await_lookups(WAITERS)
    work.may_end.set()
    for future in (worker, *waiters):
        future.exception(PATIENCE_SECONDS)
    return worker, waiters


def test_one_thread_does_the_work_and_the_others_get_its_result(
    pool: ThreadPoolExecutor, calls: SingleFlight[str]
) -> None:
    work = Work("result")

    worker, waiters = share_with_waiters(pool, calls, work)

    assert work.times == 1
    assert worker.result() == ("result", True)
    assert [waiter.result() for waiter in waiters] == [("result", False)] * WAITERS


@pytest.mark.parametrize("error", [ValueError("failed"), KeyboardInterrupt()], ids=["an error", "an interruption"])
def test_the_others_share_a_failure_too(
    pool: ThreadPoolExecutor, calls: SingleFlight[str], error: BaseException
) -> None:
    worker, waiters = share_with_waiters(pool, calls, Work(error))

    assert worker.exception() is error
    for waiter in waiters:
        no_result = waiter.exception()
        assert isinstance(no_result, NoResult)
        assert no_result.error is error


def test_after_a_failure_the_next_one_tries_again(calls: SingleFlight[str]) -> None:
    with pytest.raises(ZeroDivisionError):
        calls.share("key", lambda: str(1 // 0), wait_seconds=0)

    assert calls.share("key", lambda: "result", wait_seconds=0) == ("result", True)


def test_a_result_is_not_kept(calls: SingleFlight[str]) -> None:
    assert calls.share("key", lambda: "first", wait_seconds=0) == ("first", True)
    assert calls.share("key", lambda: "second", wait_seconds=0) == ("second", True)


def test_an_empty_result_is_shared(pool: ThreadPoolExecutor, calls: SingleFlight[str]) -> None:
    _, waiters = share_with_waiters(pool, calls, Work(""))

    assert [waiter.result() for waiter in waiters] == [("", False)] * WAITERS


def test_a_thread_that_does_not_wait_gets_no_result(pool: ThreadPoolExecutor, calls: SingleFlight[str]) -> None:
    work = Work("result")
    worker = pool.submit(calls.share, "key", work, wait_seconds=0)
    assert work.begun.wait(PATIENCE_SECONDS)

    with pytest.raises(NoResult) as caught:
        calls.share("key", never, wait_seconds=0)

    assert caught.value.error is None
    assert not worker.done()
    work.may_end.set()
    assert worker.result(PATIENCE_SECONDS) == ("result", True)


def test_different_keys_do_not_wait_for_each_other(pool: ThreadPoolExecutor, calls: SingleFlight[str]) -> None:
    work = Work("slow")
    slow = pool.submit(calls.share, ("session", 1), work, wait_seconds=0)
    assert work.begun.wait(PATIENCE_SECONDS)

    assert calls.share(("session", 2), lambda: "quick", wait_seconds=0) == ("quick", True)

    assert not slow.done()
    work.may_end.set()
    assert slow.result(PATIENCE_SECONDS) == ("slow", True)


def test_two_single_flights_are_independent(pool: ThreadPoolExecutor, calls: SingleFlight[str]) -> None:
    work = Work("result")
    worker = pool.submit(calls.share, "key", work, wait_seconds=0)
    assert work.begun.wait(PATIENCE_SECONDS)
    others: SingleFlight[str] = SingleFlight()

    assert others.share("key", lambda: "other", wait_seconds=0) == ("other", True)

    work.may_end.set()
    worker.result(PATIENCE_SECONDS)
