"""What an examination yields."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from django.conf import settings


class Status(StrEnum):
    """How good or bad a finding is. The command fails for a problem, and for nothing else."""

    OK = "ok"
    UNKNOWN = "unknown"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at. `name` is stable, "group.thing"; `found` and `advice` are for a person to read."""

    name: str
    status: Status
    found: str
    advice: str = ""

    @property
    def group(self) -> str:
        return self.name.partition(".")[0]

    @property
    def thing(self) -> str:
        return self.name.partition(".")[2]


Findings = Iterator[Finding]


def ok(name: str, found: str, advice: str = "") -> Finding:
    return Finding(name=name, status=Status.OK, found=found, advice=advice)


def unknown(name: str, found: str, advice: str = "") -> Finding:
    """What could not be looked at, or not told."""
    return Finding(name=name, status=Status.UNKNOWN, found=found, advice=advice)


def warning(name: str, found: str, advice: str) -> Finding:
    return Finding(name=name, status=Status.WARNING, found=found, advice=advice)


def problem(name: str, found: str, advice: str) -> Finding:
    return Finding(name=name, status=Status.PROBLEM, found=found, advice=advice)


def problem_in_production(name: str, found: str, advice: str, *, debug: bool | None = None) -> Finding:
    """A problem, or on a developer's machine no more than a note. `debug` says which: None for what DEBUG is here."""
    developing = settings.DEBUG if debug is None else debug
    return Finding(name=name, status=Status.OK if developing else Status.PROBLEM, found=found, advice=advice)


def worst(findings: Iterable[Finding]) -> Status:
    """The worst status among them, with "unknown" counted as nothing; OK for none."""
    found = {finding.status for finding in findings}
    return next((status for status in (Status.PROBLEM, Status.WARNING) if status in found), Status.OK)


def count(number: int, thing: str) -> str:
    """`number` things, in words: "1 session", "2 sessions"."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
