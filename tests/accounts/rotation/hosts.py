"""Several hosts in one process: each thread belongs to one, and only threads of the same one share a rotation."""

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

from accounts.rotation import rotate as rotation
from accounts.rotation.single_flight import SingleFlight


class Hosts(SingleFlight[rotation.Rotated]):
    """Stands in for the process's own flights, with one set of them for each host."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._single_flight: list[SingleFlight[rotation.Rotated]] = [SingleFlight() for _ in range(count)]
        self._current = threading.local()

    def move_to(self, host: int) -> None:
        """From now on this thread runs on that host."""
        self._current.host = host

    def waiting(self) -> int:
        """How many threads wait for one of their own host that rotates."""
        under_way: list[Any] = [
            flight for flights in self._single_flight for flight in list(flights._under_way.values())
        ]
        return sum(len(flight.landed._cond._waiters) for flight in under_way)

    def share(
        self, key: Hashable, work: Callable[[], rotation.Rotated], *, wait_seconds: float
    ) -> tuple[rotation.Rotated, bool]:
        return self._single_flight[getattr(self._current, "host", 0)].share(key, work, wait_seconds=wait_seconds)


@contextmanager
def several_hosts(count: int) -> Iterator[Hosts]:
    """Split the process up for the hand-over."""
    own = rotation._single_flight
    hosts = rotation._single_flight = Hosts(count)
    try:
        yield hosts
    finally:
        rotation._single_flight = own
