"""A clock that tests can move, for the site's process and its SQLite database alike."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from django.db import connection
from django.db.backends.signals import connection_created

from accounts import api_client
from accounts.browser import cookies, current_session, device, queue_time, session_json
from accounts.browser import session as browser_session
from accounts.device import cookie as device_cookie
from accounts.device import proof
from accounts.dialects import discovery
from accounts.models import session_statements
from accounts.rotation import limits, rotate, token_requests
from accounts.session import api_session, tokens
from accounts.sign_in import authorization_request, repeated_sign_in
from accounts.templatetags import session_end
from accounts.upstream import deadline, transport


class Clock:
    """Replaces the module `time`, and runs `ahead` seconds ahead of it. Moving it shortens the waits of all threads.

    `ahead` is time that passes. `host_ahead` and `database_ahead` are clocks that were set: nothing waits for less.
    """

    def __init__(self) -> None:
        self.host_ahead = self.database_ahead = 0.0
        self._ahead = 0.0
        self._moved = threading.Condition()
        self._wake_ups: dict[int, float] = {}
        self._stopped_at: tuple[float, float] | None = None
        self._is_hurrying = False

    @property
    def ahead(self) -> float:
        return self._ahead

    @ahead.setter
    def ahead(self, seconds: float) -> None:
        with self._moved:
            self._ahead = seconds
            self._wake_ups = {thread: at for thread, at in self._wake_ups.items() if at > self._now()}
            self._moved.notify_all()

    def sleep(self, seconds: float) -> None:
        """Returns when `seconds` have passed or when a test has moved the clock by as much."""
        if self._is_hurrying:
            self.ahead += seconds
            return
        thread = threading.get_ident()
        with self._moved:
            wakes_at = self._wake_ups[thread] = self._now() + seconds
            while (left := wakes_at - self._now()) > 0:
                self._moved.wait(left)
            self._wake_ups.pop(thread, None)

    def sleeping(self) -> int:
        """How many threads sleep. A thread whose time has come does not count, although it may not run yet."""
        with self._moved:
            return sum(at > self._now() for at in self._wake_ups.values())

    def _now(self) -> float:
        """Goes on while the clock is stopped, so that a thread that sleeps wakes up."""
        return time.monotonic() + self._ahead

    def stop(self) -> None:
        """From now on only `ahead` moves it, however slow the machine is. No deadline passes by itself."""
        self._stopped_at = time.time(), time.monotonic()

    def hurry(self) -> None:
        """From now on, a sleep moves the clock and returns at once. For tests in which only one thread sleeps."""
        self._is_hurrying = True

    def time(self) -> float:
        return self._true_time() + self.host_ahead

    def _true_time(self) -> float:
        return (self._stopped_at[0] if self._stopped_at else time.time()) + self._ahead

    def monotonic(self) -> float:
        return (self._stopped_at[1] if self._stopped_at else time.monotonic()) + self._ahead

    def strftime(self, form: str, *arguments: str) -> str:
        """SQLite's function, for the one format with which Django reads the current time."""
        assert (form, arguments) == ("%Y-%m-%d %H:%M:%f", ("NOW",)), "another use of strftime in SQL"
        return datetime.fromtimestamp(self._true_time() + self.database_ahead, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[
            :-3
        ]


@contextmanager
def movable_clock(*, stopped: bool = False) -> Iterator[Clock]:
    """Make all modules of the rotation, and SQLite, read the time from one clock that can be moved."""
    clock = Clock()
    if stopped:
        clock.stop()

    def teach(connection: Any, **_: Any) -> None:
        connection.connection.create_function("STRFTIME", -1, clock.strftime)

    modules: list[Any] = [api_client, queue_time, token_requests, browser_session, cookies, session_statements]
    modules += [session_json, session_end, limits, rotate, api_session, tokens, deadline, transport]
    modules += [authorization_request, repeated_sign_in, discovery, current_session, device, device_cookie, proof]
    connection_created.connect(teach)
    connection.close()
    for module in modules:
        module.time = clock
    try:
        yield clock
    finally:
        for module in modules:
            module.time = time
        connection_created.disconnect(teach)
        connection.close()
