"""Connections that wait for the server for a limited time, and what this process knows of an outage.

A server that hangs accepts everything and says nothing: a frozen host, a network that drops packets, a commit that
waits for a dead standby. No limit in the server ends such a wait, and neither does the kernel of a frozen host, which
still acknowledges. So the client has a deadline. After it nobody knows whether the statement was carried out.

During an outage the other requests do not wait: one at a time tries, once a second.
"""

import logging
import select
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self
from weakref import WeakSet

import psycopg
from psycopg.abc import RV, PQGen
from psycopg.waiting import Ready, Wait

from config.postgresql import PROBE

logger = logging.getLogger(__name__)

#: More than the server's own statement_timeout (config/settings.py), which leaves the connection usable.
STATEMENT_SECONDS = 6.0
PROBE_SECONDS = 2.0
_CANCEL_SECONDS = 1.0
_PAUSE_SECONDS = 1.0
#: With greenlets (gevent), a statement waits for so long before others run. Else each one would hold its connection
#: for as long as all others take that are ready: with hundreds of them, the pool's few connections would not suffice.
_QUICK_SECONDS = 0.005
_EVENTS = {Wait.R: select.POLLIN, Wait.W: select.POLLOUT, Wait.RW: select.POLLIN | select.POLLOUT}


def _has_greenlets() -> bool:
    return "gevent.monkey" in sys.modules and select.poll is not _original_poll()


def _original_poll() -> Any:
    gevent = sys.modules.get("gevent.monkey")
    return gevent.get_original("select", "poll") if gevent else select.poll


class Unresponsive(psycopg.OperationalError):
    """The database did not respond in time, or a moment ago."""


class Outage:
    """Whether the database responds, as far as this process knows. All its threads share one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_probed = False
        self._probe_at = 0.0
        self._ended_at = 0.0
        self.is_running = False
        #: Connections that were made before may hang (time.monotonic()).
        self.noticed_at = 0.0

    def begin(self, *, since: float) -> None:
        """The database has not responded to something that began at `since` (time.monotonic())."""
        with self._lock:
            if since < self._ended_at:
                # It has responded to something that began later.
                return
            is_new, self.is_running = not self.is_running, True
            self.noticed_at = time.monotonic()
            self._probe_at = self.noticed_at + _PAUSE_SECONDS
        if is_new:
            logger.error("the database does not respond")

    @contextmanager
    def guard(self) -> Iterator[bool]:
        """Wraps taking a connection. The value is whether the caller has to probe it, because there is an outage.

        Raises Unresponsive during an outage, if another thread probes now or has done so a moment ago. If the caller's
        probe raises nothing, the outage is over.
        """
        with self._lock:
            is_probe = self.is_running
            if is_probe and (self._is_probed or time.monotonic() < self._probe_at):
                raise Unresponsive("the database did not respond a moment ago")
            self._is_probed = is_probe
        if not is_probe:
            yield False
            return
        try:
            yield True
        except BaseException:
            with self._lock:
                self._probe_at = time.monotonic() + _PAUSE_SECONDS
            raise
        else:
            with self._lock:
                self.is_running, self._ended_at = False, time.monotonic()
            logger.warning("the database responds again")
        finally:
            self._is_probed = False


outage = Outage()


class BoundedConnection(psycopg.Connection[Any]):
    """Gives up and closes when the server has been silent for `seconds`. Then an outage begins."""

    seconds = STATEMENT_SECONDS
    _all: "WeakSet[BoundedConnection]" = WeakSet()
    _lock = threading.Lock()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.made_at = time.monotonic()
        with self._lock:
            self._all.add(self)

    @classmethod
    def connect(cls, *args: Any, **options: Any) -> Self:
        started = time.monotonic()
        try:
            return super().connect(*args, **options)
        except psycopg.Error:
            if not cls.any_open():
                # With others open, the server may only have reached its max_connections.
                outage.begin(since=started)
            raise

    @classmethod
    def any_open(cls) -> bool:
        """Whether this process has a connection, as far as it knows."""
        with cls._lock:
            return any(not connection.closed for connection in cls._all)

    def is_usable(self) -> bool:
        """Whether it is worth a try: the server has not closed it, and no outage has begun since it was made."""
        if self.closed or self.made_at <= outage.noticed_at:
            return False
        # An idle server sends nothing, unless it closes the connection.
        return not self._poll(select.POLLIN, 0)

    def probe(self) -> None:
        """Raises psycopg.Error unless the database accepts and keeps a write."""
        self.seconds = PROBE_SECONDS
        self.execute(PROBE)
        del self.seconds

    def wait(self, gen: PQGen[RV], *args: Any, **options: Any) -> RV:
        return super().wait(self._bounded(gen), *args, **options)

    def _bounded(self, gen: PQGen[RV]) -> PQGen[RV]:
        """psycopg resumes it when the socket is ready, and every 0.1 seconds."""
        is_late, is_quick = False, _has_greenlets()
        try:
            # `gen` also does work of its own, which takes seconds for a large statement.
            wanted = next(gen)
            quiet_since = time.monotonic()
            while True:
                ready = (is_quick and self._poll(_EVENTS[wanted], _QUICK_SECONDS)) or (yield wanted)
                if not ready and is_late:
                    self._abandon(quiet_since)
                    raise Unresponsive("the database does not respond")
                # It looks once more: perhaps it was this process that stood still.
                is_late = not ready and time.monotonic() - quiet_since > self.seconds
                is_quick = is_quick and bool(ready)
                wanted = gen.send(ready)
                if ready:
                    quiet_since = time.monotonic()
        except StopIteration as end:
            result: RV = end.value
            return result

    def _poll(self, events: int, seconds: float) -> int:
        """What the socket is ready for within `seconds`, as psycopg names it (`Ready`). It lets no greenlet run."""
        poll = _original_poll()()
        poll.register(self.fileno(), events)
        found = dict(poll.poll(1000 * seconds)).get(self.fileno(), 0)
        # A broken connection can be read: the read finds the error.
        is_readable, is_writable = found & ~select.POLLOUT, found & select.POLLOUT
        return (Ready.R if is_readable else 0) | (Ready.W if is_writable else 0)

    def _abandon(self, quiet_since: float) -> None:
        outage.begin(since=quiet_since)
        if psycopg.capabilities.has_cancel_safe():
            # The server would hold the statement, and a place of its max_connections, for as long as the outage lasts.
            with suppress(psycopg.Error):
                self.cancel_safe(timeout=_CANCEL_SECONDS)
        self.close_for_good()

    def close_for_good(self) -> None:
        """Close the socket. Without it the pool makes another connection."""
        self.pgconn.finish()
