"""`python -m tests.demo_api`, run as anybody would run it."""

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.demo_api.users import DEMO_USERS

PROJECT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 30


@contextmanager
def started(*options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.demo_api", *options]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        try:
            yield program
        finally:
            program.kill()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_introduces_itself_serves_logs_and_stops_quietly(ending: signal.Signals) -> None:
    with started("--port", "0", "--access-ttl", "5", "--refresh-ttl", "50") as program:
        assert program.stdout
        introduction = "".join(program.stdout.readline() for _ in range(2 + len(DEMO_USERS)))
        address = re.search(r"http://127\.0\.0\.1:\d+", introduction)
        assert address
        assert all(f"{email}  {password}" in introduction for email, password in DEMO_USERS.items())

        email, password = next(iter(DEMO_USERS.items()))
        pair = requests.post(f"{address[0]}/auth/login", json={"email": email, "password": password}).json()
        early = requests.post(f"{address[0]}/auth/refresh", json=pair)
        program.send_signal(ending)
        _, log = program.communicate(timeout=PATIENCE_SECONDS)

    assert early.status_code == 400
    assert log.splitlines() == ["POST /auth/login 200", "POST /auth/refresh 400"]
    assert program.returncode == 0


def test_a_taken_port_is_one_clear_line_and_a_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as occupant:
        port = occupant.getsockname()[1]
        with started("--port", str(port)) as program:
            output, complaint = program.communicate(timeout=PATIENCE_SECONDS)

    assert program.returncode == 1
    assert output == ""
    assert complaint == f"demo API: port {port} on 127.0.0.1 is taken; choose another with --port.\n"


@pytest.mark.parametrize("options", [("--port", "70000"), ("--port", "x"), ("--access-ttl", "0")])
def test_an_option_that_makes_no_sense_is_explained(options: tuple[str, str]) -> None:
    with started(*options) as program:
        _, complaint = program.communicate(timeout=PATIENCE_SECONDS)

    assert program.returncode == 2
    assert f"argument {options[0]}" in complaint
