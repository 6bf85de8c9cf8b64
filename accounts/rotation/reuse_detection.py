"""Reuse detection: decides whether a presented generation is current, within the leeway, or reused."""

from dataclasses import dataclass
from enum import Enum, auto

from accounts.conf import conf
from accounts.models import SessionRecord


@dataclass(frozen=True, slots=True)
class Presented:
    """A request's cookie generation, its arrival (time.monotonic()), and the address of its browser."""

    generation: int
    arrived: float
    address: str


class GenerationStatus(Enum):
    """How a presented generation compares with the record."""

    CURRENT = auto()  # the browser has sent no newer generation
    IN_GRACE_PERIOD = auto()  # it has, but this request arrived before that or within the leeway after it
    REUSED = auto()  # it has, longer than the leeway before this request arrived: the cookie was copied


def check_generation(record: SessionRecord, presented: Presented) -> GenerationStatus:
    """Compare the generation and the arrival of a request with the record."""
    retired_at = _retired_at(record, presented.generation)
    if retired_at is None:
        return GenerationStatus.CURRENT
    # The arrival counts: a page that ran for a minute before it needed a new token is late, not copied.
    return (
        GenerationStatus.IN_GRACE_PERIOD
        if record.to_database_time(presented.arrived) <= retired_at + conf.leeway
        else GenerationStatus.REUSED
    )


def retired_by(record: SessionRecord, generation: int) -> list[list[float]]:
    """The list of retirements to store when the browser confirms `generation` now.

    Each entry is `[generation, time]`: the confirmation of that generation retired all older ones at that time. Entries
    older than twenty times the leeway are merged, and so are two confirmations within a thirtieth of the leeway, so the
    list stays short. Merging can only date a retirement too late, which favours requests that are in progress.
    """
    now = record.database_time.timestamp()
    kept = list(record.retired)
    while len(kept) > 1 and kept[1][1] < now - 20 * conf.leeway:
        kept.pop(0)
    bucket = max(conf.leeway / 30, 0.001)
    if kept and kept[-1][1] // bucket == now // bucket:
        kept.pop()
    return [*kept, [generation, now]]


def _retired_at(record: SessionRecord, generation: int) -> float | None:
    """When `generation` was retired, in seconds since the epoch by the database's clock; None if it never was."""
    if generation >= record.confirmed:
        return None
    return next((at for newer, at in record.retired if newer > generation), 0.0)
