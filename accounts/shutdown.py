"""The end of this process. Its event streams end before it, so that browsers reconnect to another process.

Each stream ends at a moment of its own. Otherwise all browsers would reconnect at once.
"""

import math
import random
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

#: All streams end within this time, and the time until their next event or heartbeat. gunicorn waits longer
#: (`graceful_timeout`).
SPREAD_SECONDS = 20.0

_random = random.SystemRandom()


class _Shutdown:
    """Whether this process was told to end, and when (time.monotonic())."""

    is_watched = False
    began_at = math.inf

    @staticmethod
    def is_announced() -> bool:
        """Whether the server ends this process for another reason than a signal."""
        return False

    @classmethod
    def begin(cls) -> None:
        cls.began_at = min(cls.began_at, time.monotonic())


def watch_for_shutdown(is_announced: Callable[[], bool] | None = None) -> None:
    """Notice SIGTERM and SIGINT, besides what the server does then. Call it in the main thread, after the server began.

    A server may end this process without a signal, after so many requests. It says so by `is_announced`.
    """
    if _Shutdown.is_watched:
        return
    _Shutdown.is_watched = True
    if is_announced is not None:
        _Shutdown.is_announced = is_announced  # type: ignore[method-assign]
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            _watch(number)


def _watch(number: int) -> None:
    server_handler = signal.getsignal(number)
    if not callable(server_handler):
        # Without a handler, the signal ends the process at once.
        return
    end_server: Callable[[int, Any], Any] = server_handler

    def handle(number: int, frame: Any) -> None:
        _Shutdown.begin()
        end_server(number, frame)

    signal.signal(number, handle)
    # As gunicorn does: the signal interrupts no system call. `signal.signal` has undone that.
    signal.siginterrupt(number, False)


class Departure:
    """When one stream ends because of a shutdown."""

    def __init__(self) -> None:
        self._seconds = _random.uniform(0.0, SPREAD_SECONDS)

    def is_due(self) -> bool:
        if _Shutdown.is_announced():
            _Shutdown.begin()
        return time.monotonic() - _Shutdown.began_at >= self._seconds
