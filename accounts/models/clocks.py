"""How long ago something was, by two clocks: one of them may have been set back or ahead.

The database's clock is the one that all hosts share. The host that stores a time adds its own clocks: the monotonic
clock of its boot, which cannot be set, and the time of day, which other hosts can compare with theirs.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

#: The clocks of two hosts that work may differ by this much. If they differ by more, one of them was set.
TOLERANCE_SECONDS = 60.0


def _read_boot_id() -> str:
    """The same for all processes of one boot; on other systems than Linux for this process and its children."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return uuid4().hex


_BOOT_ID = _read_boot_id()


@dataclass(frozen=True, slots=True)
class Moment:
    """One moment in seconds: by the database's clock, by time.monotonic() and by time.time()."""

    database: float
    monotonic: float
    time_of_day: float

    def to_database_time(self, monotonic: float) -> float:
        """Convert a time.monotonic() of this process to seconds since the epoch by the database's clock."""
        return self.database - (self.monotonic - monotonic)

    def seconds_since(self, database_time: float, stored: list[Any] | None, *, earliest: float) -> float | None:
        """The seconds from another moment to this one; None if no clock can be right.

        `stored` is the `host_time` of the other moment, None if unknown. Less than `earliest` by the database's clock
        is impossible: it was set back, and the host's counts.

        Within one boot, the host's monotonic clock counts if the database's says more: that one was set ahead. The time
        of day of two hosts counts if the database's clock says over a minute more. Either the database's was set ahead
        or a host's was set back, and nothing tells which. The shorter time ends no session. A copied cookie gains from
        it only where the clocks of two hosts differ that much.

        In all other cases the database's counts, also if it says less: then it was set back, and catches up.
        """
        by_database = self.database - database_time
        by_host: float | None = None
        tolerance = 0.0
        if stored is not None:
            boot_id, monotonic, time_of_day = stored
            by_host = self.monotonic - monotonic
            if boot_id != _BOOT_ID:
                by_host, tolerance = self.time_of_day - time_of_day, TOLERANCE_SECONDS
        if by_host is None or by_host < -tolerance:
            return by_database if by_database >= earliest else None
        if by_database < earliest or by_database - by_host > tolerance:
            return by_host
        return by_database


def host_time(monotonic: float, time_of_day: float) -> list[Any]:
    """A moment by the clocks of this host, for a JSON field."""
    return [_BOOT_ID, monotonic, time_of_day]
