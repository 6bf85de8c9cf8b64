"""`make bench`: what the site costs, as ratios measured in one run; each benchmark is the module of its name.

Times of day differ from machine to machine and from minute to minute; ratios of alternating rounds differ little.
`where` and `bound` are in tests/benchmarks/page.py, `admin` is tests/benchmarks/admin_pages.py, and `peers` is
tests/benchmarks/peers/measure.py.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from tests.benchmarks.check import databases, measure_check
from tests.benchmarks.cookie import measure_cookies
from tests.benchmarks.open_streams import measure_open_streams
from tests.benchmarks.page import measure_bound, measure_pages, measure_shares
from tests.benchmarks.peers.measure import measure_peers
from tests.benchmarks.report import Report, machine_line
from tests.benchmarks.rotation import measure_rotation
from tests.benchmarks.rows import measure_rows
from tests.benchmarks.rows_against import measure_against
from tests.benchmarks.streams import measure_streams
from tests.benchmarks.threads import measure_threads
from tests.environment import forget_settings
from tests.load.postgres import has_postgres
from tests.load.site import KEY


def measure_admin(report: Report, options: argparse.Namespace) -> None:
    """The admin's pages, in a process for each database: Django has one set of them."""
    for _, database in databases():
        with database as url, tempfile.NamedTemporaryFile(suffix=".json") as found:
            command = [sys.executable, "-m", "tests.benchmarks.admin_pages", f"--json={found.name}"]
            command += [f"--rounds={options.rounds}", f"--sessions={options.sessions}"]
            environment = {
                **os.environ,
                "DEBUG": "false",
                "SECRET_KEY": KEY,
                "ALLOWED_HOSTS": "testserver",
                "API_BASE_URL": "http://127.0.0.1:1",
                "SECURE_SSL_REDIRECT": "false",
                "LOG_LEVEL": "ERROR",
                "DATABASE_URL": url,
            }
            subprocess.run([*command, *(["--explain"] if options.explain else [])], env=environment, check=True)
            report.join(Path(found.name))


def measure_rotations(report: Report, options: argparse.Namespace) -> None:
    measure = partial(measure_against, other=options.against) if options.against else measure_rows
    measure(report, options.rounds, options.seconds, options.sessions)


def measure_all_streams(report: Report, options: argparse.Namespace) -> None:
    if options.megabytes:
        measure_streams(report, options.rounds, options.megabytes)
    if has_postgres():
        measure_open_streams(report, options.streams)


BENCHMARKS: dict[str, Callable[[Report, argparse.Namespace], None]] = {
    "page": lambda report, options: measure_pages(report, 3 * options.rounds, options.pages),
    "where": lambda report, options: measure_shares(report, 3 * options.rounds, options.pages),
    "bound": lambda report, options: measure_bound(report, 3 * options.rounds, options.pages),
    "peers": lambda report, options: measure_peers(report, 3 * options.rounds, options.pages),
    "cookie": lambda report, options: measure_cookies(report, options.rounds),
    "check": lambda report, options: measure_check(report, 3 * options.rounds, options.pages),
    "admin": measure_admin,
    "threads": lambda report, options: measure_threads(report, options.rounds),
    "rotation": lambda report, options: measure_rotation(report, options.rounds),
    "rows": measure_rotations,
    "streams": measure_all_streams,
}


def main() -> None:
    forget_settings()
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("what", nargs="*", metavar="WHAT", help=f"of {', '.join(BENCHMARKS)}; all of them by default")
    parser.add_argument("--rounds", type=int, default=7, help="how often each is measured in turn")
    parser.add_argument(
        "--pages",
        type=int,
        default=25,
        help="page, where, bound, peers, check: pages a round, of which there are 3 times as many",
    )
    parser.add_argument("--sessions", type=int, default=1_000_000, help="admin, rows: how many are many")
    parser.add_argument("--explain", action="store_true", help="admin: print how the database answers, too")
    parser.add_argument("--seconds", type=float, default=3.0, help="rows: how long a round lasts")
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="rows: only against this other checkout")
    parser.add_argument("--megabytes", type=int, default=1024, help="streams: how large the download is; 0: none")
    parser.add_argument("--streams", type=int, default=10_000, help="streams: how many are open at the same time")
    parser.add_argument("--json", type=Path, default=Path("bench.json"), help="where the tables are written, too")
    options = parser.parse_args()
    if unknown := set(options.what) - BENCHMARKS.keys():
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    print(f"{machine_line()}\n")
    report = Report()
    for name in options.what or BENCHMARKS:
        BENCHMARKS[name](report, options)
        # Each as soon as it is there: the later ones take long.
        report.write(options.json)
    print(f"Written to {options.json}, too.")


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
