"""A clock that tests can move, for the site's process and its SQLite database alike."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from django.db import connection
from django.db.backends.signals import connection_created

from accounts import api
from accounts.browser import cookies, queue_time
from accounts.browser import session as browser_session
from accounts.dialects import discovery
from accounts.models import session_record
from accounts.rotation import rotate, token_requests
from accounts.session import api_session, tokens
from accounts.sign_in import authorization_request
from accounts.upstream import deadline, transport


class Clock:
    """Stands in for the module `time`, `ahead` seconds ahead of it. Waiting takes as long as it takes."""

    sleep = staticmethod(time.sleep)

    def __init__(self) -> None:
        self.ahead = 0.0
        self._stopped_at: tuple[float, float] | None = None

    def stop(self) -> None:
        """From now on `ahead` alone moves it, however slow the machine is. No deadline passes by itself."""
        self._stopped_at = time.time(), time.monotonic()

    def time(self) -> float:
        return (self._stopped_at[0] if self._stopped_at else time.time()) + self.ahead

    def monotonic(self) -> float:
        return (self._stopped_at[1] if self._stopped_at else time.monotonic()) + self.ahead

    def strftime(self, form: str, *arguments: str) -> str:
        """SQLite's function, for the one form in which Django asks for the present."""
        assert (form, arguments) == ("%Y-%m-%d %H:%M:%f", ("NOW",)), "another use of strftime in SQL"
        return datetime.fromtimestamp(self.time(), UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


@contextmanager
def movable_clock(*, stopped: bool = False) -> Iterator[Clock]:
    """Put everything that the hand-over asks for the time on one clock that can be moved."""
    clock = Clock()
    if stopped:
        clock.stop()

    def teach(connection: Any, **_: Any) -> None:
        connection.connection.create_function("STRFTIME", -1, clock.strftime)

    modules: list[Any] = [api, queue_time, token_requests, browser_session, cookies, session_record]
    modules += [rotate, api_session, tokens, deadline, transport, authorization_request, discovery]
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
