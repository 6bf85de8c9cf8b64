"""What all benchmarks share: rounds that alternate, the machine they ran on, and tables for people and for programs."""

import json
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import django

Cell = str | int | float


class Ratio(NamedTuple):
    """How one thing compares to another that was measured in the same rounds: half of them lie between the ends."""

    median: float
    lower: float
    upper: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.lower:.2f} to {self.upper:.2f})"


def alternate(measures: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Call each of `measures` once a round, and return what each said, by name, a figure a round.

    Whatever else the machine is doing slows down neighbours in a round alike. Every second round goes backwards, so
    that nobody always comes first.
    """
    figures: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(rounds):
        for name in list(measures) if number % 2 == 0 else reversed(list(measures)):
            figures[name].append(measures[name]())
    return figures


def ratio(figures: Sequence[float], to: Sequence[float]) -> Ratio:
    """The quotients of figures of the same rounds: their median, and the quartiles around it."""
    quotients = [one / other for one, other in zip(figures, to, strict=True)]
    if len(quotients) < 2:
        return Ratio(quotients[0], quotients[0], quotients[0])
    lower, median, upper = statistics.quantiles(quotients, n=4, method="inclusive")
    return Ratio(median, lower, upper)


@dataclass(frozen=True)
class Table:
    """Figures under `columns`, the first of which names what a row is about. `note` says how to read them."""

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell | Ratio]]
    note: str = ""

    def __str__(self) -> str:
        lines = [self.columns, *([_shown(cell) for cell in row] for row in self.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.columns))]
        text = [self.title, *([self.note] if self.note else []), ""]
        for line in lines:
            first, *rest = (cell.rjust(width) for cell, width in zip(line, widths, strict=True))
            text.append("  ".join([first.strip().ljust(widths[0]), *rest]))
        return "\n".join(text) + "\n"

    def to_json(self) -> dict[str, Any]:
        """A row is an object under the columns' names; a ratio has its median and quartiles."""
        rows = [
            {
                column: cell._asdict() if isinstance(cell, Ratio) else cell
                for column, cell in zip(self.columns, row, strict=True)
            }
            for row in self.rows
        ]
        return {"name": self.name, "title": self.title, "note": self.note, "rows": rows}


class Report:
    """The tables of one run: printed as they come, and written down together."""

    def __init__(self) -> None:
        self._tables: list[dict[str, Any]] = []

    def add(self, table: Table) -> None:
        print(table, flush=True)
        self._tables.append(table.to_json())

    def join(self, path: Path) -> None:
        """Take over the tables that another process has printed and written."""
        self._tables += json.loads(path.read_text())["tables"]

    def write(self, path: Path) -> None:
        """All of it as JSON, the machine included. Replaces what was there."""
        path.write_text(json.dumps({"machine": machine(), "tables": self._tables}, indent=2) + "\n")


def machine() -> dict[str, Cell]:
    """What the figures belong to."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count() or 0,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "django": django.get_version(),
    }


def machine_line() -> str:
    """The same, in one line."""
    found = machine()
    return "{cpu}, {cores} cores, {system}, Python {python}, Django {django}".format(**found)


def _cpu() -> str:
    """The processor's name, where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown processor"


def _shown(cell: Cell | Ratio) -> str:
    if isinstance(cell, float):
        return f"{cell:.2f}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)
