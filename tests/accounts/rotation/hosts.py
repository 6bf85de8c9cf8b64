"""Several hosts in one process. Each thread belongs to one, and only threads of the same host share a rotation."""

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

from accounts.rotation import rotate as rotation
from accounts.rotation.single_flight import SingleFlight


class Hosts(SingleFlight[rotation.Rotated]):
    """Replaces the `SingleFlight` of the process by one for each host."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._hosts: list[SingleFlight[rotation.Rotated]] = [SingleFlight() for _ in range(count)]
        self._current = threading.local()

    def move_to(self, host: int) -> None:
        """From now on this thread runs on that host."""
        self._current.host = host

    def waiting(self) -> int:
        """How many threads wait for another thread of their own host."""
        calls: list[Any] = [call for host in self._hosts for call in list(host._calls.values())]
        return sum(len(call.done._cond._waiters) for call in calls)

    def share(
        self, key: Hashable, work: Callable[[], rotation.Rotated], *, wait_seconds: float
    ) -> tuple[rotation.Rotated, bool]:
        return self._hosts[getattr(self._current, "host", 0)].share(key, work, wait_seconds=wait_seconds)


@contextmanager
def several_hosts(count: int) -> Iterator[Hosts]:
    """Split the process into hosts for the rotation."""
    own = rotation._single_flight
    hosts = rotation._single_flight = Hosts(count)
    try:
        yield hosts
    finally:
        rotation._single_flight = own
