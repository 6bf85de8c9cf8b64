"""Bytes that are fetched in advance: nobody else gets the same ones, neither a thread nor a process."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from accounts.random_bytes import random_bytes
from tests.environment import PROJECT

COUNT = 10_000
FORK = """
import os
from accounts.random_bytes import random_bytes

random_bytes()
child = os.fork()
print(random_bytes().hex(), flush=True)
if child:
    os.waitpid(child, 0)
else:
    os._exit(0)
"""


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
