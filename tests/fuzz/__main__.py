"""The fuzz tests again and again, with other examples each time, for so many minutes: `make fuzz MINUTES=30`.

Stops at the first round in which something fails; what failed is printed, and tried first the next time.
"""

import argparse
import os
import subprocess
import sys
import time

from tests.fuzz.effort import PROFILE_VARIABLE

_PYTEST = [
    *(sys.executable, "-m", "pytest", "tests/fuzz", "--quiet", "-p", "no:cacheprovider"),
    # A test that takes minutes has not hung.
    *("-o", "faulthandler_timeout=0"),
]


def main() -> int:
    """The exit status: pytest's of the round that failed, else 0. The last round is finished, whatever the time is."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("minutes", type=float, nargs="?", default=10)
    ends_at = time.monotonic() + parser.parse_args().minutes * 60
    rounds = 0
    while rounds == 0 or time.monotonic() < ends_at:
        rounds += 1
        print(f"round {rounds}", flush=True)
        done = subprocess.run(_PYTEST, env={**os.environ, PROFILE_VARIABLE: "long"})
        if done.returncode:
            return done.returncode
    print(f"{rounds} rounds, and nothing found")
    return 0


if __name__ == "__main__":
    sys.exit(main())
