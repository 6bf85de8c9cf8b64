"""Reuse detection: decides whether a presented generation is current, within the leeway, or reused."""

from dataclasses import dataclass
from enum import Enum, auto

from accounts.conf import conf
from accounts.models import SessionRecord


@dataclass(frozen=True, slots=True)
class Presented:
    """What a request came with: the generation in its cookie, when it arrived (time.monotonic()), and from where."""

    generation: int
    arrived: float
    address: str


class GenerationStatus(Enum):
    """What a presented generation is, by the record."""

    CURRENT = auto()  # the browser was never seen with a newer one
    IN_GRACE_PERIOD = auto()  # it was, but this request arrived before that, or within the leeway after it
    REUSED = auto()  # it was, long before this request arrived: somebody copied the cookie


def check_generation(record: SessionRecord, presented: Presented) -> GenerationStatus:
    """What the generation that a request presented is, by the record and by the time at which the request arrived."""
    retired_at = _retired_at(record, presented.generation)
    if retired_at is None:
        return GenerationStatus.CURRENT
    # By arrival: a page that ran for a minute before it needed to rotate is a straggler, not a thief.
    return (
        GenerationStatus.IN_GRACE_PERIOD
        if record.to_database_time(presented.arrived) <= retired_at + conf.leeway
        else GenerationStatus.REUSED
    )


def retired_by(record: SessionRecord, generation: int) -> list[list[float]]:
    """The retirements to store in the record when the browser confirms `generation` now.

    Each entry is `[generation, time]`: the confirmation of that generation retired all older ones at that time. Entries
    older than twenty times the leeway are merged, and so are two confirmations within a thirtieth of the leeway, so the
    list stays short. Merging can only date a retirement later than it was, in favour of requests that were under way.
    """
    now = record.fetched_at.timestamp()
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
