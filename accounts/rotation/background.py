"""A refresh before the expiry runs in a thread of its own: if the API hangs, a request with a good token goes on."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import TypeVar

from django.db import connections, router

from accounts.exceptions import AccountsError, ApiUnavailable
from accounts.models import SessionRecord

logger = logging.getLogger(__name__)

#: An API that responds in this time is not slow, and the response to the same request carries the new session. Because
#: each request waits so long, a process has at most a few times as many of these threads as threads for requests.
WAIT_SECONDS = 1.0

T = TypeVar("T")


def run_in_background(work: Callable[[], T]) -> T:
    """The result or the exception of `work`, if it ends within WAIT_SECONDS.

    Otherwise raises ApiUnavailable, and `work` goes on to its end, also while the process is ending: it may have spent
    a refresh token. It has the request's id and trace, and its own database connection.
    """
    if connections[router.db_for_write(SessionRecord)].in_atomic_block:
        # A TestCase: another connection would not see its rows. A rotation in other transactions is refused.
        return work()
    future: Future[T] = Future()
    # Not a daemon, also if this thread is one: the interpreter waits for it before it ends.
    thread = threading.Thread(target=copy_context().run, args=(_run, work, future), name="early-refresh", daemon=False)
    try:
        thread.start()
    except RuntimeError:
        # The system has no more threads, or the process is ending.
        return work()
    try:
        return future.result(WAIT_SECONDS)
    except TimeoutError as error:
        raise ApiUnavailable("the refresh takes long; this request does not wait for it") from error


def _run(work: Callable[[], T], future: "Future[T]") -> None:
    try:
        try:
            result = work()
        finally:
            connections.close_all()
    except Exception as error:  # noqa: BLE001  # raised in the request's thread, if it still waits
        if not isinstance(error, AccountsError):
            logger.error("a refresh before the expiry failed: %s", type(error).__name__)
        future.set_exception(error)
    else:
        future.set_result(result)
