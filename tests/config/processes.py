"""The settings that a process of its own reads, with nothing in the environment but what is said here."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from django.conf import settings

from tests.environment import SETTINGS_VARIABLES

ROOT: Path = settings.BASE_DIR
START = "import django; django.setup()"
SHOW = """if True:
    import json
    from django.conf import settings
    print(json.dumps({name: getattr(settings, name) for name in dir(settings) if name.isupper()}, default=str))
"""
PRODUCTION = {
    "SECRET_KEY": "x" * 60,
    "ALLOWED_HOSTS": "www.example.com, example.com",
    "API_BASE_URL": "https://api.example.com/v1",
}
READ_BY_SETTINGS = sorted(SETTINGS_VARIABLES)


def copy_site(tmp_path: Path) -> Path:
    """A copy of the site's folder without anybody's .env and database. Its apps it takes from here."""
    shutil.copytree(ROOT / "config", tmp_path / "site/config")
    shutil.copy(ROOT / "manage.py", tmp_path / "site")
    return tmp_path / "site"


def python(site: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Python in the site's folder, with this environment and no other."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=site,
        env={
            **{name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH") if name in os.environ},
            "PYTHONPATH": str(ROOT),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=60,
    )


def start(site: Path, program: str = START, **environment: str) -> subprocess.CompletedProcess[str]:
    """As a server starts: not by way of manage.py."""
    return python(site, "-c", program, DJANGO_SETTINGS_MODULE="config.settings", **environment)


def settings_of(site: Path, **environment: str) -> dict[str, Any]:
    """The settings of a server."""
    return _read(start(site, SHOW, **environment))


def settings_of_manage_py(site: Path, **environment: str) -> dict[str, Any]:
    return _read(python(site, "manage.py", "shell", "--no-imports", "-c", SHOW, **environment))


def _read(process: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert process.returncode == 0, process.stderr
    values: dict[str, Any] = json.loads(process.stdout)
    return values
