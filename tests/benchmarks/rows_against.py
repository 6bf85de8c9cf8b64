"""`rows --against FOLDER`: rotations on PostgreSQL with this code, and with that of another checkout.

Each runs its own tests/benchmarks/rows_program.py on a database of its own, in turn, on one server.
"""

import statistics
from pathlib import Path

from tests.benchmarks.report import Cell, Ratio, Report, Table, ratio
from tests.benchmarks.rows import PROCESSES, THREADS, Rows, measure_in_turn, postgres_server


def measure_against(report: Report, rounds: int, seconds: float, sessions: int, other: Path) -> None:
    with postgres_server() as server:
        theirs = Rows(server, sessions, project=other.resolve(), label="the other")
        ours = Rows(server, sessions, label="this code")
        rates = measure_in_turn([theirs, ours], rounds, seconds)
        rows: list[list[Cell | Ratio]] = [
            [
                one.name,
                round(statistics.median(rates[one.name])),
                ratio(rates[one.name], rates[theirs.name]),
                round(1 / statistics.median(one.spent)),
                ratio(one.spent, theirs.spent),
                round(statistics.median(one.figures["log"])),
                ratio(one.figures["log"], theirs.figures["log"]),
                one.hot_share(),
            ]
            for one in (theirs, ours)
        ]
    report.add(
        Table(
            "rotations against another checkout",
            f"Rotations on PostgreSQL, against {other}",
            ["sessions", "a second", "rate", "a CPU second", "CPU", "log bytes", "log", "HOT"],
            rows,
            note=f"{PROCESSES} processes of {THREADS} threads, sessions at random, {rounds} alternating rounds of"
            f" {seconds:g} s; medians, and ratios to the other with quartiles. CPU: what the processes and the server"
            " spend on a rotation. Log: what PostgreSQL writes ahead for one. HOT: the part of the updates of sessions"
            " that touched no index.",
        )
    )
