"""SQLite: one file, on one machine, that has to be there after a power failure too."""

import os
from pathlib import Path

from django.db.backends.base.base import BaseDatabaseWrapper

from accounts.doctor.findings import Finding, Findings, ok, problem, warning

_NETWORK_FILE_SYSTEMS = ("9p", "ceph", "cifs", "fuse.sshfs", "glusterfs", "lustre", "nfs", "nfs4", "smb3")


def examine_sqlite(connection: BaseDatabaseWrapper) -> Findings:
    if connection.is_in_memory_db():  # type: ignore[attr-defined]
        yield warning(
            "database.file",
            "The database is in memory: each process has its own, and it is gone with it.",
            "Name a file, or a PostgreSQL server, in DATABASE_URL.",
        )
        return
    with connection.cursor() as cursor:
        journal = cursor.execute("PRAGMA journal_mode").fetchone()[0]
        synchronous = cursor.execute("PRAGMA synchronous").fetchone()[0]
    if (journal, synchronous) == ("wal", 2):
        yield ok("database.durability", "Write-ahead log, and a stored rotation survives a power failure.")
    else:
        yield warning(
            "database.durability",
            f"journal_mode is {journal} and synchronous is {synchronous}: processes lock each other out, or a power "
            "failure loses tokens that the API has handed out.",
            "Keep the init_command of config/settings.py: journal_mode=WAL and synchronous=FULL (2).",
        )
    yield _file(Path(connection.settings_dict["NAME"]).resolve())


def _file(path: Path) -> Finding:
    name = "database.file"
    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        return problem(
            name,
            f"{path} or its folder cannot be written by the user that runs this command.",
            "Both have to be writable for the site's user: SQLite keeps its write-ahead log beside the file.",
        )
    kind = file_system(path, _mounts())
    if kind in _NETWORK_FILE_SYSTEMS:
        return warning(
            name,
            f"{path} is on a network file system ({kind}), where SQLite's locks and its write-ahead log do not hold.",
            "Use a local disk, or PostgreSQL where several hosts share the sessions.",
        )
    return ok(name, "The file and its folder can be written.")


def _mounts() -> str:
    """What is mounted, as Linux tells it; "" elsewhere."""
    try:
        return Path("/proc/self/mounts").read_text(errors="replace")
    except OSError:
        return ""


def file_system(path: Path, mounts: str) -> str:
    """The kind of file system that `path` is on, by the lines of `mounts` (proc_pid_mounts(5)); "" for none of them."""
    deepest, found = -1, ""
    for line in mounts.splitlines():
        _, folder, kind, *_ = line.split(" ")
        mounted_on = Path(folder.replace("\\040", " "))
        # Of two on the same folder, the later one covers the earlier.
        if path.is_relative_to(mounted_on) and len(mounted_on.parts) >= deepest:
            deepest, found = len(mounted_on.parts), kind
    return found
