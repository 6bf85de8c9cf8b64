"""A developer's settings, in .env or in the shell, change nothing in `pytest`, `make lint` and the benchmarks."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.environment import PROJECT, SETTINGS_VARIABLES, clean_environment
from tests.load.site import Site

PATIENCE_SECONDS = 120.0

#: With any of these the site refuses to start, or behaves differently.
HOSTILE = dict.fromkeys(SETTINGS_VARIABLES, "hostile") | {
    "API_BASE_URL": "http://127.0.0.1:9",
    "API_DIALECT": "simplejwt",
    "DATABASE_URL": "sqlite:////nowhere/hostile.sqlite3",
    "OAUTH_ISSUER": "https://hostile.example",
}
SELECTION = ["tests/accounts/sign_in/test_sign_in.py"]
SHOW = """
import json
print(json.dumps({name: getattr(settings, name) for name in dir(settings) if name.isupper()}, default=str))
"""


@pytest.fixture
def hostile(tmp_path: Path) -> dict[str, str]:
    """The environment of a developer who has set everything, in the shell and in .env."""
    env_file = tmp_path / ".env"
    env_file.write_text("".join(f"{name}={value}\n" for name, value in HOSTILE.items()))
    return {
        **clean_environment(),
        **HOSTILE,
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "ENV_FILE": str(env_file),
        "COVERAGE_FILE": os.devnull,
    }


def run(*command: str, **environment: str) -> str:
    """The output of a command in the project's folder."""
    done = subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def settings_in(**environment: str) -> dict[str, Any]:
    """All settings with which tests run."""
    values: dict[str, Any] = json.loads(run(sys.executable, "-c", f"from tests import settings{SHOW}", **environment))
    return values


def test_tests_have_the_same_settings_in_any_environment(hostile: dict[str, str]) -> None:
    assert settings_in(**hostile) == settings_in(**clean_environment())


def test_tests_can_run_on_another_database() -> None:
    database = settings_in(**clean_environment(), TEST_DATABASE_URL="postgres://db.example/tests")["DATABASES"][
        "default"
    ]

    assert (database["ENGINE"], database["HOST"]) == ("config.postgresql", "db.example")


def test_tests_pass_in_any_environment(hostile: dict[str, str]) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *SELECTION]

    assert " passed" in run(*command, **hostile)


def test_the_processes_that_tests_start_get_none_of_it(
    hostile: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in hostile.items():
        monkeypatch.setenv(name, value)

    site = Site(database_url="sqlite://:memory:", api_url="http://127.0.0.1:8001")
    shown = site.manage("shell", "--no-imports", "-c", f"from django.conf import settings{SHOW}")

    values = json.loads(shown.stdout)
    assert values["API_DIALECT"] == "token-pair"
    assert values["OAUTH_ISSUER"] == values["API_USERNAME_FIELD"] == ""
    assert "hostile" not in shown.stdout


def test_make_lint_checks_the_same_settings_in_any_environment(hostile: dict[str, str]) -> None:
    """Its commands that read the settings; mypy reads those of the tests (pyproject.toml)."""
    recipe = (
        run("make", "--dry-run", "lint", **hostile).replace("\\\n", " ").replace(".venv/bin/python", sys.executable)
    )
    commands = [line for line in recipe.splitlines() if " manage.py " in line and not line.startswith("echo")]

    assert len(commands) == 2
    for command in commands:
        run("sh", "-c", command, **hostile)


def test_the_benchmarks_begin_with_a_clean_environment(hostile: dict[str, str]) -> None:
    program = f"""if True:
        import os, sys
        from tests.benchmarks import __main__ as bench
        bench.BENCHMARKS = {{"page": lambda *_: print(*(name for name in {list(HOSTILE)} if name in os.environ))}}
        sys.argv = ["bench", "page", "--json", os.devnull]
        bench.main()
    """

    assert run(sys.executable, "-c", program, **hostile).splitlines()[-2:] == [
        "ENV_FILE",
        f"Written to {os.devnull}, too.",
    ]
