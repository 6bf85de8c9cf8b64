"""Within one process, one thread per key does the work and the others share its result, also its failure."""

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


class NoResult(Exception):
    """The thread that does the work failed with `error`, or, where that is None, is still at it."""

    def __init__(self, error: BaseException | None) -> None:
        super().__init__()
        self.error = error


@dataclass(slots=True)
class _Call(Generic[T]):
    landed: threading.Event = field(default_factory=threading.Event)
    result: T | None = None
    error: BaseException | None = None


class SingleFlight(Generic[T]):
    """Runs `work` once for all threads that ask for the same key at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[Hashable, _Call[T]] = {}

    def share(self, key: Hashable, work: Callable[[], T], *, wait_seconds: float) -> tuple[T, bool]:
        """The result of `work`, and whether this thread did it.

        An exception of `work` is raised in the thread that did it; the others get NoResult, as they do when the work
        takes longer than `wait_seconds`.
        """
        with self._lock:
            flight = self._under_way.get(key)
            if flight is None:
                mine = self._under_way[key] = _Call()
        if flight is None:
            try:
                mine.result = work()
            except BaseException as error:
                mine.error = error
                raise
            finally:
                with self._lock:
                    del self._under_way[key]
                mine.landed.set()
            return mine.result, True
        if not flight.landed.wait(wait_seconds) or flight.result is None:
            raise NoResult(flight.error)
        return flight.result, False
