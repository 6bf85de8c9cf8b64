"""Threads and forked processes never get the same random bytes."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from accounts.random_bytes import random_bytes
from tests.environment import PROJECT

COUNT = 10_000
FORK = """
import os
from accounts.random_bytes import random_bytes

random_bytes()
child = os.fork()
if child:
    os.waitpid(child, 0)
print(random_bytes().hex(), flush=True)
os._exit(0)
"""


@pytest.fixture
def busy_threads() -> Iterator[None]:
    """Threads take turns as often as possible: by default, each runs for 5 ms, and hardly two of them meet."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("busy_threads")
def test_threads_get_different_bytes() -> None:
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(lambda: [random_bytes() for _ in range(COUNT)]) for _ in range(8)]
        found = [piece for call in calls for piece in call.result()]

    assert {len(piece) for piece in found} == {64}
    assert len(set(found)) == 8 * COUNT


def test_a_forked_process_gets_different_bytes() -> None:
    ran = subprocess.run([sys.executable, "-c", FORK], cwd=PROJECT, capture_output=True, text=True, check=True)

    of_child, of_parent = ran.stdout.split()
    assert of_child != of_parent
