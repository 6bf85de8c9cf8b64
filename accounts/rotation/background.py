"""Threads that go on when no request waits for them any more: with a refresh before the expiry, if the API hangs, and
if the database fails, with the store of a new pair or the release of a lease.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from contextvars import copy_context
from typing import TypeVar

from django.db import connections

from accounts.database_pool import give_back_connections
from accounts.exceptions import AccountsError, ApiUnavailable

logger = logging.getLogger(__name__)

#: An API that responds in this time is not slow, and the response to the same request carries the new session. Because
#: each request waits so long, a process has at most a few times as many of these threads as threads for requests.
WAIT_SECONDS = 1.0

T = TypeVar("T")


def run_in_background(send: Callable[[], T], finish: Callable[[T], object]) -> T:
    """The result or the exception of `send`, if it ends within WAIT_SECONDS.

    Otherwise raises ApiUnavailable. Then the thread goes on, also while the process is ending, because `send` may spend
    a refresh token; and it passes the result to `finish`. It has the request's id and trace, and its own database
    connection.
    """
    future: Future[T] = Future()
    # Not a daemon, even if this thread is one: the interpreter waits for it before it ends.
    thread = threading.Thread(
        target=copy_context().run, args=(_run, send, finish, future), name="early-refresh", daemon=False
    )
    try:
        thread.start()
    except RuntimeError:
        # The system has no more threads, or the process is ending.
        return send()
    give_back_connections()
    try:
        return future.result(WAIT_SECONDS)
    except TimeoutError as error:
        if future.cancel():
            raise ApiUnavailable("the refresh takes long; this request does not wait for it") from error
        return future.result()


def go_on_in_background(work: Callable[[], object]) -> None:
    """Run `work` in a thread, also while the process is ending."""
    thread = threading.Thread(
        target=copy_context().run, args=(_run_alone, work), name="late-database-work", daemon=False
    )
    # The system has no more threads, or the process is ending.
    with suppress(RuntimeError):
        thread.start()


def _run_alone(work: Callable[[], object]) -> None:
    try:
        work()
    except AccountsError:
        # The session has ended: an event says so.
        return
    except Exception as error:  # noqa: BLE001  # no request waits any more
        logger.error("late work on the database failed: %s", type(error).__name__)
    finally:
        connections.close_all()


def _run(send: Callable[[], T], finish: Callable[[T], object], future: "Future[T]") -> None:
    try:
        try:
            result = send()
        except Exception as error:
            with suppress(InvalidStateError):
                future.set_exception(error)
                return
            raise
        try:
            future.set_result(result)
        except InvalidStateError:  # the request has cancelled it
            finish(result)
    except AccountsError:
        # The session has ended, or the API or the database is unavailable: an event or the log says so.
        return
    except Exception as error:  # noqa: BLE001  # no request waits any more
        logger.error("a refresh before the expiry failed: %s", type(error).__name__)
    finally:
        connections.close_all()
