"""One of the programs, started by a test: it takes orders, and does not outlive whoever started it."""

import json
import select
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from tests.environment import clean_environment

PROJECT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 60.0
STOP_SECONDS = 10.0


class Program:
    """
    `python -m <name> <options>`, or `command` with these options, running and serving on `port` of 127.0.0.1.

    Raises RuntimeError where it does not come up, or does not answer an order; its own complaint goes to standard
    error.
    """

    def __init__(self, name: str, *options: str, command: Sequence[str] = ()) -> None:
        self._name = name
        self._lock = Lock()
        self._process = subprocess.Popen(
            [*(command or (sys.executable, "-m", name)), *options],
            cwd=PROJECT,
            env=clean_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            self.port: int = self._read_answer()["port"]
        except BaseException:
            self.stop()
            raise

    def order(self, name: str, *arguments: Any) -> Any:
        """Have it call this function of its module `orders`; what that returned."""
        with self._lock:
            assert self._process.stdin
            self._process.stdin.write(json.dumps([name, *arguments]) + "\n")
            self._process.stdin.flush()
            return self._read_answer()

    def stop(self) -> None:
        """End its input, at which it ends by itself, and remove its database."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _read_answer(self) -> Any:
        """The next line. There is never more than one on its way: the buffer is empty before."""
        assert self._process.stdout
        ready, _, _ = select.select([self._process.stdout], [], [], PATIENCE_SECONDS)
        line = self._process.stdout.readline() if ready else ""
        if not line:
            raise RuntimeError(f"{self._name} does not answer")
        return json.loads(line)
