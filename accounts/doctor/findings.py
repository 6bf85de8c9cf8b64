"""The results of the doctor's examinations."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial


class Status(StrEnum):
    """The command fails for a problem only. "unknown" is for an examination that did not take place."""

    OK = "ok"
    UNKNOWN = "unknown"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """`name` is stable and reads "group.thing"; `found` and `advice` are sentences for the operator."""

    status: Status
    name: str
    found: str
    advice: str = ""


Findings = Iterator[Finding]

ok = partial(Finding, Status.OK)
unknown = partial(Finding, Status.UNKNOWN)
warning = partial(Finding, Status.WARNING)
problem = partial(Finding, Status.PROBLEM)


def worst(findings: Iterable[Finding]) -> Status:
    """PROBLEM or WARNING if one of them is; OK otherwise, also for "unknown"."""
    statuses = {finding.status for finding in findings}
    return next((status for status in (Status.PROBLEM, Status.WARNING) if status in statuses), Status.OK)


def count(number: int, thing: str) -> str:
    """A number with its noun: "1 session", "2 sessions"."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
