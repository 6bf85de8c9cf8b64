"""Within one process, one thread per key does the work. The others wait and share its result or its failure."""

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from accounts.database_pool import give_back_connections

T = TypeVar("T")


class NoResult(Exception):
    """The thread that does the work failed with `error`. If that is None, it has not finished."""

    def __init__(self, error: BaseException | None) -> None:
        super().__init__()
        self.error = error


@dataclass(slots=True)
class _Call(Generic[T]):
    done: threading.Event = field(default_factory=threading.Event)
    result: T | None = None
    error: BaseException | None = None


class SingleFlight(Generic[T]):
    """Runs `work` once for all threads that call it with the same key at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: dict[Hashable, _Call[T]] = {}

    def share(self, key: Hashable, work: Callable[[], T], *, wait_seconds: float) -> tuple[T, bool]:
        """The result of `work`, and whether this thread did it.

        An exception of `work` is raised in the thread that did it. The others raise NoResult, also when the work takes
        longer than `wait_seconds`.
        """
        with self._lock:
            running = self._calls.get(key)
            if running is None:
                own = self._calls[key] = _Call()
        if running is None:
            try:
                own.result = work()
            except BaseException as error:
                own.error = error
                raise
            finally:
                with self._lock:
                    del self._calls[key]
                own.done.set()
            return own.result, True
        give_back_connections()
        if not running.done.wait(wait_seconds) or running.result is None:
            raise NoResult(running.error)
        return running.result, False
