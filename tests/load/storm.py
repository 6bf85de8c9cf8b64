"""`python -m tests.load.storm`: every scenario in full size, as a table for each kind of API.

Exit status 1 when one breaks its promise.
"""

import argparse
import sys
import time
from contextlib import ExitStack
from dataclasses import replace

from tests.load.figures import Figures
from tests.load.postgres import MISSING, PostgresServer, has_postgres
from tests.load.scenarios import Scenario, playable
from tests.load.stage import KINDS, LONG, SHORT, SessionLost, Stage

_COLUMNS = (
    "scenario",
    "requests",
    "lost",
    "in window",
    "spent twice",
    "refreshes/rotation",
    "median",
    "99th",
    "seconds",
)
_ROW = "{:<48} {:>8} {:>5} {:>9} {:>11} {:>18} {:>7} {:>7} {:>8}"
_LEGEND = """\
lost                sessions that ended though nobody may end them
in window           sessions lost in the one window that cannot be closed from this side: see the README
refreshes/rotation  what the API was asked for, of what the browsers got; 2 where it took a lost answer's token again
median, 99th        latency, in units of the median request that needed no refresh, of the same scenario in this run"""


def main() -> int:
    options = _read_options()
    scale = SHORT if options.short else LONG
    if options.seconds is not None:
        scale = replace(scale, seconds=options.seconds)
    with ExitStack() as closing:
        server = closing.enter_context(PostgresServer()) if has_postgres() else None
        if server is None:
            print(MISSING)
        plays = {
            closing.enter_context(Stage(scale, server, kind=kind)): [
                scenario
                for scenario in playable(kind, with_postgres=server is not None)
                if options.only in scenario.__name__
            ]
            for kind in options.api or KINDS
        }
        return _run(plays, rounds=options.rounds, minutes=options.minutes)


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.load.storm", description="Sessions under load and faults.")
    parser.add_argument("--rounds", type=int, default=1, help="play everything so many times (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=0, help="begin another round until so many have passed")
    parser.add_argument("--seconds", type=float, help="of load, in the scenarios that last (default: 60)")
    parser.add_argument(
        "--api", action="append", choices=KINDS, help="with this kind of API, and others so named (default: with all)"
    )
    parser.add_argument("--short", action="store_true", help="in the size of the tests")
    parser.add_argument("--only", default="", metavar="NAME", help="scenarios with this in their name")
    return parser.parse_args()


def _run(plays: dict[Stage, list[Scenario]], *, rounds: int, minutes: float) -> int:
    started = time.monotonic()
    total, failures, played = Figures(), 0, 0
    print(_LEGEND)
    while played < rounds or time.monotonic() - started < minutes * 60:
        played += 1
        for stage, scenarios in plays.items():
            print(f"\n{stage.kind}\n{_ROW.format(*_COLUMNS)}", flush=True)
            for scenario in scenarios:
                failures += not _play(stage, scenario)
                total.requests += stage.figures.requests
                total.lost += stage.figures.lost
                total.in_window += stage.figures.in_window
    scenarios_count = sum(map(len, plays.values()))
    print(
        f"\n{scenarios_count} scenarios, {played} rounds, {total.requests} requests: {total.lost} sessions lost, "
        f"{total.in_window} in the documented window, {failures} promises broken, "
        f"{time.monotonic() - started:.0f} seconds."
    )
    return 1 if failures or not scenarios_count else 0


def _play(stage: Stage, scenario: Scenario) -> bool:
    """Run one scenario, print its row, and say whether it kept its promise."""
    started = time.monotonic()
    failure: Exception | None = None
    try:
        scenario(stage)
    except Exception as error:  # noqa: BLE001  # the other scenarios are played all the same
        failure = error
    figures = stage.figures
    print(
        _ROW.format(
            scenario.__name__,
            figures.requests,
            figures.lost,
            figures.in_window or "",
            figures.reuses or "",
            _show(figures.refreshes_per_rotation),
            _show(figures.median_ratio),
            _show(figures.slowest_ratio),
            f"{time.monotonic() - started:.1f}",
        ),
        flush=True,
    )
    for note in figures.notes:
        print(f"  {note}", flush=True)
    if failure is not None:
        kind = "session lost" if isinstance(failure, SessionLost) else type(failure).__name__
        print(
            f"  BROKEN: {kind}: {failure}", *getattr(failure, "__notes__", []), sep="\n  ", file=sys.stderr, flush=True
        )
    return failure is None


def _show(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    sys.exit(main())
