"""Rows on their way into the database: whoever adds one neither waits for it nor learns what became of it.

A request adds a row, such as a session event, to a bounded queue and goes on. One thread of the process writes what has
gathered, over a connection of its own, and ends when there has been nothing to write for a while. While the database is
away the rows wait, and those for which there is no room are dropped.
"""

import atexit
import logging
import os
import threading
import time
from collections import deque
from itertools import islice
from typing import Generic, TypeVar

from django.db import DataError, IntegrityError, connections, router
from django.db.models import Model

logger = logging.getLogger(__name__)

ROOM = 10_000
_BATCH = 200
#: One transaction for all that happens at about the same time: each costs the disk a write that it waits for.
_GATHER_SECONDS = 0.2
_IDLE_SECONDS = 10.0
_AGAIN_SECONDS = 1.0
_EXIT_SECONDS = 2.0


Row = TypeVar("Row", bound=Model)


class BackgroundWriter(Generic[Row]):
    """The queue of one process for rows of one model, and its writer. `room` is how many may wait."""

    def __init__(self, model: type[Row], *, room: int = ROOM) -> None:
        self._model = model
        self._what = str(model._meta.verbose_name_plural)
        self._room = room
        self.start_over()

    def start_over(self) -> None:
        """Begin with nothing, as a child process does: the thread and what it had to write are its parent's."""
        self._changed = threading.Condition()
        self._hurry = threading.Event()
        self._waiting: deque[Row] = deque()
        self._writer: threading.Thread | None = None
        self._is_failing = False
        self._dropped = 0

    def add(self, row: Row) -> None:
        """Have it written at some time soon. Never waits for the database, and never raises."""
        with self._changed:
            has_room = len(self._waiting) < self._room
            if has_room:
                self._waiting.append(row)
                self._wake_writer()
            else:
                self._dropped += 1
            is_first_drop = not has_room and self._dropped == 1
        if is_first_drop:
            logger.warning("%s %s wait to be written: what happens now is in the log alone", self._room, self._what)

    def finish(self, seconds: float) -> bool:
        """Write what waits, and let the writer go, with its connection. Says whether all was written in that time."""
        with self._changed:
            self._hurry.set()
            self._changed.notify_all()
            writer = self._writer
        if writer is not None:
            writer.join(seconds)
        return not self._waiting

    def _wake_writer(self) -> None:
        if self._writer is not None and self._writer.is_alive():
            self._changed.notify_all()
            return
        self._hurry.clear()
        self._writer = threading.Thread(target=self._run, name=self._what.replace(" ", "-"), daemon=True)
        try:
            self._writer.start()
        except RuntimeError:
            # No more threads, or the process is about to end. The next event tries again.
            self._writer = None

    def _run(self) -> None:
        database = router.db_for_write(self._model)
        try:
            while batch := self._next_batch():
                self._write(batch, database)
        finally:
            connections[database].close()

    def insert(self, batch: list[Row], database: str) -> None:
        """Write a batch."""
        self._model._default_manager.using(database).bulk_create(batch)

    def _next_batch(self) -> list[Row]:
        """What is to be written next; nothing where the writer may go."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._hurry.is_set(), _IDLE_SECONDS)
            if not self._waiting:
                self._writer = None
                return []
        if len(self._waiting) < _BATCH:
            self._hurry.wait(_GATHER_SECONDS)
        with self._changed:
            return list(islice(self._waiting, _BATCH))

    def _write(self, batch: list[Row], database: str) -> None:
        """Write a batch and take it off the queue; or leave it there, where another time may do."""
        try:
            self.insert(batch, database)
        except (DataError, IntegrityError) as error:
            logger.error("%s %s were no use to the database: %s", len(batch), self._what, type(error).__name__)
        except Exception as error:  # noqa: BLE001  # whatever it is, nobody else will come back to this queue
            if not self._is_failing:
                logger.error("%s cannot be written at present: %s", self._what, type(error).__name__)
            self._is_failing = True
            connections[database].close()
            time.sleep(_AGAIN_SECONDS)
            return
        with self._changed:
            for _ in batch:
                self._waiting.popleft()
            dropped, self._dropped = (self._dropped, 0) if not self._waiting else (0, self._dropped)
        if self._is_failing or dropped:
            logger.info("%s are written again; %s were dropped", self._what, dropped)
        self._is_failing = False


def write_until_exit(writer: BackgroundWriter[Row]) -> None:
    """What waits at the end of the process is written."""
    # A child has none of its parent's threads, and must not write the same rows a second time.
    os.register_at_fork(after_in_child=writer.start_over)
    atexit.register(writer.finish, _EXIT_SECONDS)
