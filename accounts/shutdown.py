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


def watch_for_shutdown() -> None:
    """Notice SIGTERM, besides what the server does then. Call it in the main thread, after the server has begun."""
    if _Shutdown.is_watched:
        return
    _Shutdown.is_watched = True
    server_handler = signal.getsignal(signal.SIGTERM)

    if not callable(server_handler) or threading.current_thread() is not threading.main_thread():
        # Without a handler, the signal ends the process at once.
        return
    end_server: Callable[[int, Any], Any] = server_handler

    def handle(number: int, frame: Any) -> None:
        _Shutdown.began_at = min(_Shutdown.began_at, time.monotonic())
        end_server(number, frame)

    signal.signal(signal.SIGTERM, handle)


class Departure:
    """When one stream ends because of a shutdown."""

    def __init__(self) -> None:
        self._seconds = _random.uniform(0.0, SPREAD_SECONDS)

    def is_due(self) -> bool:
        return time.monotonic() - _Shutdown.began_at >= self._seconds
