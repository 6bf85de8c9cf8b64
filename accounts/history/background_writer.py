"""A queue of rows and the background thread that writes them to the database, so that requests need not wait.

A request adds a row, such as a session event, to a bounded queue. One thread of the process writes the queued rows in
batches, over its own connection, and ends when it has been idle for a while. While the database is unavailable the rows
wait. When the queue is full, new rows are dropped. Of a batch with a row that the database refuses, the other rows are
written.
"""

import atexit
import logging
import os
import threading
import time
from collections import deque
from itertools import islice
from typing import Any, Generic, TypeVar

from django.db import DataError, IntegrityError, connections, router
from django.db.models import Model

from accounts.database_pool import give_back_connections

logger = logging.getLogger(__name__)

ROOM = 10_000
_BATCH = 200
#: Each transaction waits for a write to the disk.
_GATHER_SECONDS = 0.2
_IDLE_SECONDS = 10.0
_RETRY_SECONDS = 1.0
_EXIT_SECONDS = 2.0
#: The row is at fault, and no other attempt would succeed: the database refuses it, or its driver cannot send it.
_REFUSALS = (DataError, IntegrityError, ValueError, TypeError, OverflowError)

Row = TypeVar("Row", bound=Model)


class BackgroundWriter(Generic[Row]):
    """The queue of one process for rows of one model, and its writer thread.

    `room` is the size of the queue. Rows of `gather_seconds` share a transaction.
    """

    def __init__(self, model: type[Row], *, room: int = ROOM, gather_seconds: float = _GATHER_SECONDS) -> None:
        self._model = model
        self._rows = str(model._meta.verbose_name_plural)
        self._room = room
        self._gather_seconds = gather_seconds
        self.start_over()

    def start_over(self) -> None:
        """Begin with an empty queue and no thread. For a child process: its parent writes the queued rows."""
        self._changed = threading.Condition()
        self._finishing = threading.Event()
        self._queue: deque[Row] = deque()
        self._writer: threading.Thread | None = None
        self._is_failing = False
        self._dropped = 0

    def add(self, row: Row) -> None:
        """Queue a row to be written soon. Never waits for the database, and never raises."""
        with self._changed:
            has_room = len(self._queue) < self._room
            if has_room:
                self._queue.append(row)
                self._wake_writer()
            else:
                self._dropped += 1
            is_first_drop = not has_room and self._dropped == 1
        if is_first_drop:
            logger.warning("%s %s wait to be written: new ones are dropped until there is room", self._room, self._rows)

    def finish(self, seconds: float) -> bool:
        """Write the queued rows, and end the writer and its connection. Returns whether all rows were written."""
        with self._changed:
            self._finishing.set()
            self._changed.notify_all()
            writer = self._writer
        if writer is not None:
            writer.join(seconds)
        return self._is_empty()

    def _is_empty(self) -> bool:
        return not self._queue

    def _fill_queue(self) -> None:
        """Queue what waits elsewhere. For subclasses."""

    def _wake_writer(self) -> None:
        if self._writer is not None and self._writer.is_alive():
            self._changed.notify_all()
            return
        self._finishing.clear()
        self._writer = threading.Thread(target=self._run, name=self._rows.replace(" ", "-"), daemon=True)
        try:
            self._writer.start()
        except RuntimeError:
            # The system has no more threads, or the process is ending. The next row tries again.
            self._writer = None

    def _run(self) -> None:
        database = router.db_for_write(self._model)
        try:
            while batch := self._next_batch():
                self._write(batch, database)
                give_back_connections()
        finally:
            connections[database].close()

    def insert(self, batch: list[Row], database: str) -> None:
        """Write a batch."""
        self._model._default_manager.using(database).bulk_create(batch)

    def _next_batch(self) -> list[Row]:
        """The rows to write next; an empty list if the writer may end."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_empty() or self._finishing.is_set(), _IDLE_SECONDS)
            if self._is_empty():
                self._writer = None
                return []
        if len(self._queue) < _BATCH:
            self._finishing.wait(self._gather_seconds)
        with self._changed:
            self._fill_queue()
            return list(islice(self._queue, _BATCH))

    def _write(self, batch: list[Row], database: str) -> bool:
        """Write a batch and remove it from the queue, but drop the rows that the database refuses.

        If another attempt may succeed, leave the rest of the batch in the queue and return False.
        """
        try:
            self.insert(batch, database)
        except _REFUSALS as error:
            if len(batch) > 1:
                half = len(batch) // 2
                return self._write(batch[:half], database) and self._write(batch[half:], database)
            logger.error("the database refused one of the %s, which is dropped: %s", self._rows, type(error).__name__)
        except Exception as error:  # noqa: BLE001  # no other thread would write this queue
            if not self._is_failing:
                logger.error("%s cannot be written at present: %s", self._rows, type(error).__name__)
            self._is_failing = True
            connections[database].close()
            time.sleep(_RETRY_SECONDS)
            return False
        self._remove(len(batch))
        return True

    def _remove(self, count: int) -> None:
        """Remove the oldest rows from the queue, and log if an outage is over."""
        with self._changed:
            for _ in range(count):
                self._queue.popleft()
            dropped, self._dropped = (self._dropped, 0) if not self._queue else (0, self._dropped)
        if self._is_failing or dropped:
            logger.info("%s are written again; %s were dropped", self._rows, dropped)
        self._is_failing = False


_writers: list[BackgroundWriter[Any]] = []


def write_until_exit(writer: BackgroundWriter[Any]) -> None:
    """Write the queued rows when the process ends."""
    # A child process has no threads of its parent, and must not write the same rows again.
    os.register_at_fork(after_in_child=writer.start_over)
    _writers.append(writer)


@atexit.register
def finish_writers() -> None:
    """Write the queued rows of all writers of this process. For the end of a server that runs no `atexit` functions."""
    for writer in _writers:
        writer.finish(0)
    # All together have this time: a server that ends is killed if it takes long.
    until = time.monotonic() + _EXIT_SECONDS
    for writer in _writers:
        writer.finish(max(0.0, until - time.monotonic()))
