"""`manage.py doctor` as an operator runs it: a process of its own, with the settings of the site."""

import io
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from accounts.doctor.findings import Status
from tests.demo_api.server import DemoApi
from tests.load.processes import free_port
from tests.load.site import KEY, Site

ADA = "ada@example.com"


@pytest.fixture(scope="module")
def strict_api() -> Iterator[DemoApi]:
    with DemoApi() as api:
        yield api


@pytest.fixture(scope="module")
def deployed(strict_api: DemoApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site with everything that it needs."""
    database = f"sqlite:///{tmp_path_factory.mktemp('site') / 'db.sqlite3'}"
    site = Site(database_url=database, api_url=strict_api.url, workers=1)
    site.migrate()
    with site:
        yield site


def read(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    """The findings by name, of a run with --json."""
    report = json.loads(done.stdout)
    assert (done.returncode == 1) == (report["status"] == Status.PROBLEM), done.stderr
    for finding in report["findings"]:
        assert {*finding} == {"name", "status", "found", "advice"}
        assert finding["found"]
        assert finding["advice"] or finding["status"] in (Status.OK, Status.UNKNOWN), finding
    return {finding["name"]: finding for finding in report["findings"]}


def test_a_site_in_good_order_is_told_so(deployed: Site) -> None:
    done = deployed.manage("doctor", "--url", deployed.url)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "\n0 problems, " in done.stdout
    for heading in ("Keys", "API", "The deployed site"):
        assert f"\n{heading}\n" in done.stdout
    assert "manage.py check --deploy --database default" in done.stdout


def test_as_json_it_is_the_same(deployed: Site) -> None:
    plain = deployed.manage("doctor", "--url", deployed.url)
    as_json = deployed.manage("doctor", "--url", deployed.url, "--json")

    findings = read(as_json)
    assert as_json.returncode == 0
    assert {name.partition(".")[0] for name in findings} == {"keys", "api", "site"}
    for finding in findings.values():
        assert finding["name"].partition(".")[2] + ":" in plain.stdout


@pytest.mark.parametrize(
    "arguments",
    [["--url", "www.example.com"], ["--url", "https://ada:tide@example.com"], ["--path", "orders"]],
    ids=["no address", "a password in it", "no path"],
)
def test_what_cannot_be_asked_is_said_before_anything_is(deployed: Site, arguments: list[str]) -> None:
    done = deployed.manage("doctor", *arguments)

    assert done.returncode not in (0, 1)
    assert arguments[0] in done.stderr
    assert not done.stdout


def test_everything_that_is_wrong_is_found_in_one_run(deployed: Site, tmp_path: Path) -> None:
    database, nobody = tmp_path / "empty.sqlite3", free_port()
    database.touch()

    done = deployed.manage(
        "doctor",
        *("--json", "--url", deployed.url),
        DATABASE_URL=f"sqlite:///{database}",
        API_BASE_URL=f"http://127.0.0.1:{nobody}",
        API_SESSION_KEYS="short",
    )

    findings = read(done)
    assert done.returncode == 1
    for name in ("api.connection", "site.answer"):
        assert findings[name]["status"] == Status.PROBLEM, name
    # The records cannot be read, so who uses the keys is unknown; their number is not.
    assert findings["keys.use"]["status"] == Status.UNKNOWN
    assert findings["keys.ring"]["status"] == Status.OK


def test_no_run_shows_a_key(deployed: Site) -> None:
    other = "another-key-of-the-ring-" + "1234567890" * 3

    for arguments in ([], ["--json"]):
        done = deployed.manage("doctor", *arguments, "--url", deployed.url, API_SESSION_KEYS=f"{other},{KEY}")

        assert other not in done.stdout + done.stderr
        assert KEY not in done.stdout + done.stderr


def test_a_part_that_breaks_off_does_not_take_the_others_with_it(
    settings: Settings, api: DemoApi, capsys: pytest.CaptureFixture[str], db: None
) -> None:
    settings.API_SESSION_KEYS = [None]

    with pytest.raises(SystemExit) as exit_:
        call_command("doctor", as_json=True)

    findings = {finding["name"]: finding for finding in json.loads(capsys.readouterr().out)["findings"]}
    assert exit_.value.code == 1
    assert findings["keys.examination"]["found"] == "The examination failed: TypeError."
    assert findings["api.sign-in"]["status"] == Status.OK


def test_what_it_prints_is_for_a_person_to_read(api: DemoApi, transactional_db: None) -> None:
    output = io.StringIO()

    api.stop_serving()

    with pytest.raises(SystemExit) as exit_:
        call_command("doctor", stdout=output, no_color=True)

    assert exit_.value.code == 1
    lines = output.getvalue().splitlines()
    (found,) = [line for line in lines if line.startswith("  problem  connection: ")]
    assert lines[lines.index(found) + 1].startswith("           -> Check the spelling")
    assert re.fullmatch(r"1 problem, \d+ warnings, 0 unknown, \d+ ok\.", lines[-1])
    assert sum(line.startswith("  ok ") for line in lines) == int(lines[-1].split(", ")[-1].split()[0])


def test_it_is_called_from_code_as_from_the_command_line() -> None:
    with pytest.raises(CommandError, match="--path"):
        call_command("doctor", "--path", "orders")
