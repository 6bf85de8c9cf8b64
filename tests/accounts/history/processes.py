"""Scripts that record events in a process of their own."""

import subprocess
import sys
from pathlib import Path

from tests.browsers import PATIENCE_SECONDS
from tests.environment import clean_environment
from tests.load.site import KEY, PROJECT

SETUP = """
import os, sys
import django
django.setup()
from uuid import UUID
from accounts.history import background_writer
from accounts.history.events import record_event
from accounts.models import EventKind
"""


def run(script: str, database: Path, *, status: int = 0) -> None:
    """Run a script in a process of its own, which ends with this status."""
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SETUP + script],
        cwd=PROJECT,
        env=clean_environment(
            DJANGO_SETTINGS_MODULE="config.settings",
            DEBUG="true",
            SECRET_KEY=KEY,
            DATABASE_URL=f"sqlite:///{database}",
        ),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert process.returncode == status, process.stderr
