"""Reuse detection: decides whether a presented generation is current, within the leeway, or reused."""

import math
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from accounts.conf import conf
from accounts.exceptions import BodyConsumed
from accounts.models import SessionRecord
from accounts.models.clocks import TOLERANCE_SECONDS, host_time
from accounts.session.device_key import device_key


@dataclass(frozen=True, slots=True)
class Presented:
    """A request's cookie generation, its arrival (time.monotonic()), and the address of its browser.

    `begun` is when the proxy began to read it (time.monotonic()), if that is earlier than the header may prove.
    `device` is the key that the session is bound to, and whose device has proven that it is there; empty for an unbound
    session. `has_device_in_cookie` says that the session cookie has this key, and not only the device cookie.
    """

    generation: int
    arrived: float
    address: str
    begun: float | None = None
    device: str = field(default="", repr=False)
    has_device_in_cookie: bool = False


class GenerationStatus(Enum):
    """How a presented generation compares with the record."""

    CURRENT = auto()  # the browser has sent no newer generation
    IN_GRACE_PERIOD = auto()  # it has, but this request arrived before that or within the leeway after it
    TOO_SLOW = auto()  # this request began in that time, says the proxy, but longer ago than that counts for
    REUSED = auto()  # it has, longer than the leeway before this request arrived: the cookie was copied


def check_generation(record: SessionRecord, presented: Presented) -> GenerationStatus:
    """Compare the generation and the arrival of a request with the record."""
    retired_since = _seconds_since_retirement(record, presented)
    if retired_since is None:
        return GenerationStatus.CURRENT
    # The arrival counts: a page that ran for a minute before it needed a new token is late, not copied.
    in_time_from = record.fetched_at.monotonic - retired_since + conf.leeway
    if presented.arrived <= in_time_from:
        return GenerationStatus.IN_GRACE_PERIOD
    if presented.begun is not None and presented.begun <= in_time_from:
        return GenerationStatus.TOO_SLOW
    return GenerationStatus.REUSED


def lacks_device(record: SessionRecord, presented: Presented) -> bool:
    """Whether the session is bound to a device, and the cookie is not: it is from before the binding, or a copy of it.

    A cookie without a key, but with a generation that no host of this release has stored without a key, comes from a
    host of an earlier release, which dropped the key.
    """
    if record.device_key in ("", device_key(presented.device)):
        return False
    return bool(presented.device) or presented.generation <= record.device_generation


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


def _seconds_since_retirement(record: SessionRecord, presented: Presented) -> float | None:
    """How long ago a newer generation or the binding to a device retired the cookie; None if neither did."""
    seconds = []
    if presented.generation < record.confirmed:
        newer = (entry for entry in record.retired if entry[0] > presented.generation)
        seconds.append(next((_seconds_since(record, entry) for entry in newer), math.inf))
    if lacks_device(record, presented):
        seconds.append(_seconds_since_binding(record))
    return max(seconds, default=None)


def _seconds_since_binding(record: SessionRecord) -> float:
    at, stored = record.device_bound_at, record.device_host_time
    since = at and record.fetched_at.seconds_since(at.timestamp(), stored, earliest=-TOLERANCE_SECONDS)
    return since or 0.0


def _seconds_since(record: SessionRecord, retirement: list[float]) -> float:
    """Seconds since an entry of `retired`. If no clock can tell, its grace period has just begun."""
    generation, at = retirement
    stored = (record.retired_host_times or {}).get(str(generation))
    return record.fetched_at.seconds_since(at, stored, earliest=-TOLERANCE_SECONDS) or 0.0
