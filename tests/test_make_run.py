"""`make run` and `manage.py runserver`, in a copy of this project, as on a machine where it has just been cloned."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.load.processes import free_port, wait_until

PROJECT = Path(__file__).resolve().parents[1]
PATIENCE_SECONDS = 90.0
DEMO_API_PORT = 8001

NOT_CLONED = shutil.ignore_patterns(".*", "__pycache__", "db.sqlite3*", "htmlcov", "mutants")


class Program:
    """One command in the copy, with its descendants, as a context manager; what it says goes to a file."""

    def __init__(self, folder: Path, *command: str) -> None:
        self._folder = folder
        self._log = folder.parent / "output"
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env={"PATH": os.environ["PATH"], "HOME": str(folder.parent)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *_: object) -> None:
        for pid in self.living():
            os.kill(pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()

    @property
    def output(self) -> str:
        return self._log.read_text()

    def living(self) -> list[int]:
        """The processes that work in the copy's folder, whoever started them. (Only Linux tells.)"""
        return [int(link.parent.name) for link in Path("/proc").glob("[0-9]*/cwd") if _leads_to(link, self._folder)]

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first match in the output, as soon as there is one."""
        wait_until(
            lambda: re.search(pattern, self.output) is not None or self._process.poll() is not None,
            pattern,
            seconds=PATIENCE_SECONDS,
        )
        found = re.search(pattern, self.output)
        assert found, self.output
        return found

    def wait_until_it_answers(self, url: str) -> None:
        wait_until(lambda: answers(url) or self._process.poll() is not None, url, seconds=PATIENCE_SECONDS)
        assert self._process.poll() is None, self.output

    def press_ctrl_c(self) -> int:
        """As the terminal does: to the whole group. Returns the exit status."""
        os.killpg(self._process.pid, signal.SIGINT)
        return self.wait()

    def close_terminal(self) -> None:
        os.killpg(self._process.pid, signal.SIGHUP)

    def wait(self) -> int:
        return self._process.wait(PATIENCE_SECONDS)


def _leads_to(link: Path, folder: Path) -> bool:
    try:
        return link.readlink() == folder
    except OSError:
        return False


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """This project without what git does not keep, and with this Python's packages: `make install` has been done."""
    folder = tmp_path / "clone"
    shutil.copytree(PROJECT, folder, ignore=NOT_CLONED)
    (folder / ".venv").mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (folder / ".venv" / name).symlink_to(Path(sys.prefix) / name)
    (folder / ".venv/.installed").touch()
    return folder


@contextmanager
def make_run(clone: Path) -> Iterator[tuple[Program, str, str]]:
    """The program, and the addresses that it prints: the site's and the demo API's."""
    with Program(clone, "make", "run", f"PORT={free_port()}", f"API_PORT={free_port()}") as program:
        site = program.wait_for(r"The site +(http://\S+)/ ")[1]
        api = program.wait_for(r"Demo API: (http://\S+)")[1]
        program.wait_until_it_answers(f"{site}/health/ready")
        yield program, site, api


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=PATIENCE_SECONDS).ok
    except requests.ConnectionError:
        return False


def sign_in(browser: requests.Session, url: str, username: str, password: str) -> requests.Response:
    """Fill in the sign-in form at `url`, the site's or the admin's."""
    page = browser.get(url)
    assert page.status_code == 200
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page.text))
    return browser.post(page.url, data={**hidden, "username": username, "password": password})


def test_it_serves_stops_with_ctrl_c_starts_again_and_ends_with_its_terminal(clone: Path) -> None:
    with make_run(clone) as (program, site, api), requests.Session() as browser:
        email, password = program.wait_for(r"Demo sign-ins:\n.*?(\S+@\S+)  (\S+)\n").groups()
        protected = sign_in(browser, f"{site}/protected/", email, password)
        staff, staff_password = program.wait_for(r"/admin/ +sign in as (\S+) / (\S+)").groups()
        admin = sign_in(browser, f"{site}/admin/", staff, staff_password)
        assert (protected.url, protected.status_code) == (f"{site}/protected/", 200)
        assert email in protected.text
        assert "Old Harbour" in protected.text
        assert "/protected/trace/" in protected.text
        assert "Request trace" in browser.get(f"{site}/protected/trace/").text
        assert (admin.url, admin.status_code) == (f"{site}/admin/", 200)
        assert "Sessions" in admin.text

        assert program.press_ctrl_c() in (0, 130, -signal.SIGINT)

        assert program.living() == []
        assert not answers(f"{site}/health/live")
        assert not answers(api)
        assert "Traceback" not in program.output

    (clone / ".env").write_text("ALLOWED_HOSTS=www.example.com\nSECURE_SSL_REDIRECT=true\nAPI_USERNAME_FIELD=login\n")
    with make_run(clone) as (program, site, _), requests.Session() as browser:
        assert sign_in(browser, f"{site}/admin/", staff, staff_password).url == f"{site}/admin/"
        assert sign_in(browser, f"{site}/accounts/login/", email, password).status_code == 200

        program.close_terminal()

        wait_until(lambda: program.living() == [], "everything has ended", seconds=PATIENCE_SECONDS)
        assert not answers(f"{site}/health/live")


@pytest.mark.parametrize("variable", ["PORT", "API_PORT"])
def test_a_taken_port_is_named_with_the_way_out(clone: Path, variable: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as occupant:
        taken = str(occupant.getsockname()[1])
        ports = {"PORT": str(free_port()), "API_PORT": str(free_port()), variable: taken}
        with Program(clone, "make", "run", *(f"{name}={port}" for name, port in ports.items())) as program:
            status = program.wait()

            assert status != 0
            assert f"Port {taken} is taken by another program." in program.output
            assert f"make run {variable}=" in program.output
            assert "Traceback" not in program.output
            assert program.living() == []


def test_runserver_with_nothing_set_expects_the_demo_api_and_says_how_to_start_it(clone: Path) -> None:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", DEMO_API_PORT)) == 0:
            pytest.skip(f"Port {DEMO_API_PORT} is taken, so the demo API seems to be there; to run this, stop it")
    port = free_port()
    site = f"http://127.0.0.1:{port}"
    with Program(clone, ".venv/bin/python", "manage.py", "runserver", "--noreload", str(port)) as program:
        program.wait_until_it_answers(f"{site}/health/live")

        page = requests.get(f"{site}/accounts/login/")

        assert page.status_code == 200
        assert f"http://127.0.0.1:{DEMO_API_PORT}" in page.text
        text = re.sub("<[^>]+>", "", page.text)
        assert f".venv/bin/python -m tests.demo_api --port {DEMO_API_PORT}" in text
        assert "make run" in text
        program.press_ctrl_c()
