"""The one judge of presented generations: nothing else in this package decides whether a cookie is too old."""

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


class Verdict(Enum):
    """What a presented generation is, by the record."""

    CURRENT = auto()  # the browser was never seen with a newer one
    LATE = auto()  # it was, but this request arrived before that, or within the leeway after it
    REUSE = auto()  # it was, long before this request arrived: somebody copied the cookie


def judge(record: SessionRecord, presented: Presented) -> Verdict:
    """What the generation that a request presented is, by the record and by the time at which the request arrived."""
    retired_at = record.retired_at(presented.generation)
    if retired_at is None:
        return Verdict.CURRENT
    # By arrival: a page that ran for a minute before it needed to rotate is a straggler, not a thief.
    return Verdict.LATE if record.at_database(presented.arrived) <= retired_at + conf.leeway else Verdict.REUSE
