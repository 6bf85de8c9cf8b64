"""Reuse detection: decides whether a presented generation is current, within the leeway, or reused."""

import math
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from accounts.conf import conf
from accounts.exceptions import BodyConsumed
from accounts.models import SessionRecord
from accounts.models.clocks import TOLERANCE_SECONDS, host_time


@dataclass(frozen=True, slots=True)
class Presented:
    """A request's cookie generation, its arrival (time.monotonic()), and the address of its browser.

    `begun` is when the proxy began to read it (time.monotonic()), if that is earlier than the header may prove.
    """

    generation: int
    arrived: float
    address: str
    begun: float | None = None


class GenerationStatus(Enum):
    """How a presented generation compares with the record."""

    CURRENT = auto()  # the browser has sent no newer generation
    IN_GRACE_PERIOD = auto()  # it has, but this request arrived before that or within the leeway after it
    TOO_SLOW = auto()  # this request began in that time, says the proxy, but longer ago than that counts for
    REUSED = auto()  # it has, longer than the leeway before this request arrived: the cookie was copied


def check_generation(record: SessionRecord, presented: Presented) -> GenerationStatus:
    """Compare the generation and the arrival of a request with the record."""
    retired_since = _seconds_since_retirement(record, presented.generation)
    if retired_since is None:
        return GenerationStatus.CURRENT
    # The arrival counts: a page that ran for a minute before it needed a new token is late, not copied.
    in_time_from = record.fetched_at.monotonic - retired_since + conf.leeway
    if presented.arrived <= in_time_from:
        return GenerationStatus.IN_GRACE_PERIOD
    if presented.begun is not None and presented.begun <= in_time_from:
        return GenerationStatus.TOO_SLOW
    return GenerationStatus.REUSED


def too_slow_error() -> BodyConsumed:
    """The exception for a request that is TOO_SLOW. It gets no newer session, and the session stays."""
    return BodyConsumed("the request took so long to arrive that the browser has a newer session", retry_after=1)


def retired_by(record: SessionRecord, generation: int) -> dict[str, Any]:
    """The fields to store when the browser confirms `generation` now: `retired` and `retired_host_times`.

    Each entry of `retired` is `[generation, time]`: the confirmation of that generation retired all older ones at that
    time. Entries older than twenty times the leeway are merged, and so are two confirmations within a thirtieth of the
    leeway, so the list stays short. Merging can only date a retirement too late, which favours requests that are in
    progress.
    """
    now = record.fetched_at.database
    kept = list(record.retired)
    while len(kept) > 1 and _seconds_since(record, kept[1]) > 20 * conf.leeway:
        kept.pop(0)
    # A time in the future comes from a clock that was set back. By its present time, it does not wait for that time.
    kept = [[newer, at if at <= now else now - max(_seconds_since(record, [newer, at]), 0.0)] for newer, at in kept]
    bucket = max(conf.leeway / 30, 0.001)
    if kept and kept[-1][1] // bucket == now // bucket:
        kept.pop()
    known = record.retired_host_times or {}
    host_times = {str(newer): known[str(newer)] for newer, _ in kept if str(newer) in known}
    host_times[str(generation)] = host_time(record.fetched_at.monotonic, record.fetched_at.time_of_day)
    return {"retired": [*kept, [generation, now]], "retired_host_times": host_times}


def _seconds_since_retirement(record: SessionRecord, generation: int) -> float | None:
    """How long ago `generation` was retired; None if it never was."""
    if generation >= record.confirmed:
        return None
    return next((_seconds_since(record, entry) for entry in record.retired if entry[0] > generation), math.inf)


def _seconds_since(record: SessionRecord, retirement: list[float]) -> float:
    """Seconds since an entry of `retired`. If no clock can tell, its grace period has just begun."""
    generation, at = retirement
    stored = (record.retired_host_times or {}).get(str(generation))
    return record.fetched_at.seconds_since(at, stored, earliest=-TOLERANCE_SECONDS) or 0.0
