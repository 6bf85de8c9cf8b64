"""A migrated SQLite file for the sites that tests start: a copy, because a process that migrates takes seconds."""

import functools
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.environment import PROJECT, clean_environment


def put_migrated_database(path: Path) -> None:
    """Create the SQLite file `path` with all tables, and nothing in them but what the migrations store."""
    path.write_bytes(_migrated())


@functools.cache
def _migrated() -> bytes:
    with tempfile.TemporaryDirectory(prefix="migrated-") as folder:
        file = Path(folder) / "db.sqlite3"
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
            cwd=PROJECT,
            env=clean_environment(DEBUG="true", DATABASE_URL=f"sqlite:///{file}"),
            stdin=subprocess.DEVNULL,
            check=True,
        )
        return file.read_bytes()
