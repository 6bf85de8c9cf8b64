"""Packages from npm for a program of the tests, as its package-lock.json names them, in the user's cache folder."""

import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

OLDEST_NODE = 20
INSTALL_SECONDS = 300.0


class CannotInstall(Exception):
    """This machine cannot run the program. The text says why. `is_registry` says that it may be npm's registry."""

    def __init__(self, why: str, *, is_registry: bool = False) -> None:
        super().__init__(why)
        self.is_registry = is_registry


def install(program: Path, name: str) -> Path:
    """The folder with the node_modules that `program`/package-lock.json names. The first call makes it.

    Raises CannotInstall.
    """
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise CannotInstall("there is no node with npm")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout.strip()
    if int(version.removeprefix("v").partition(".")[0]) < OLDEST_NODE:
        raise CannotInstall(f"node is {version}, which is too old for {name}")
    folder = _folder(program, name)
    if folder is None:
        raise CannotInstall(f"npm cannot install {name} (is its registry reachable?)", is_registry=True)
    return folder


@functools.cache
def _folder(program: Path, name: str) -> Path | None:
    """The folder, with the packages. None if npm fails, which a process tries once."""
    lock = (program / "package-lock.json").read_bytes()
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = caches / "django-api-session-tests" / f"{name}-{hashlib.sha256(lock).hexdigest()[:16]}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        made = Path(temporary) / "made"
        made.mkdir()
        for file in ("package.json", "package-lock.json"):
            shutil.copy(program / file, made)
        command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries", "1"]
        try:
            run = subprocess.run(command, cwd=made, capture_output=True, text=True, timeout=INSTALL_SECONDS)
        except subprocess.TimeoutExpired:
            return None
        if run.returncode:
            return None
        try:
            made.rename(folder)
        except OSError:
            assert folder.is_dir(), "another process has made it meanwhile"
    return folder
