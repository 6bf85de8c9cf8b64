"""The folder in which the worker processes of this host share their metrics.

PROMETHEUS_MULTIPROC_DIR names it. Under gunicorn it may be missing: then gunicorn.conf.py has chosen a name,
METRICS_FOLDER. METRICS_PLACE is the place of this worker. Without these variables, a process has its own metrics.
"""

import errno
import logging
import os
import stat
from contextlib import suppress

from prometheus_client import values

from accounts.conf import conf

logger = logging.getLogger(__name__)

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


def share_metrics() -> None:
    """Keep new metrics in files of the folder, which is made if it is missing; in memory if nobody may read them.

    Metrics are not worth a site that does not start: without a usable folder, they stay in memory too.
    """
    folder = os.environ.pop(_FOLDER, None) or os.environ.get("METRICS_FOLDER")
    values.ValueClass = values.MutexValue
    if not folder or not conf.metrics:
        return
    os.environ[_FOLDER] = folder
    try:
        make_folder()
    except OSError as error:
        logger.error("no metrics, because the folder %s cannot be used: %s", folder, error.strerror)
        return
    # One file for each place of a worker. With one for each process id, every replaced worker would leave a file.
    values.ValueClass = values.MultiProcessValue(_place)  # type: ignore[no-untyped-call]  # prometheus-client has no type here


def are_shared() -> bool:
    """Whether new metrics are kept in files of the folder."""
    return _FOLDER in os.environ and values.ValueClass is not values.MutexValue


def make_folder(uid: int = -1, gid: int = -1) -> None:
    """Make the folder if it is missing. Raises OSError if it cannot be used.

    It will belong to `uid` and `gid`, for a process that is still root.
    """
    folder, is_made = os.environ[_FOLDER], False
    with suppress(FileExistsError):
        os.makedirs(folder, 0o700)
        is_made = True
    if not is_usable(folder, uid):
        raise PermissionError(errno.EACCES, "it belongs to another user, or is no folder")
    if is_made or _is_our_choice(folder):
        os.chown(folder, uid, gid)


def is_usable(folder: str, uid: int = -1) -> bool:
    """Whether the folder exists, and was not put there by another user of this machine: the name is in /tmp."""
    with suppress(OSError):
        status = os.lstat(folder)
        is_ours = stat.S_ISDIR(status.st_mode) and status.st_uid in (os.geteuid(), uid)
        return is_ours if _is_our_choice(folder) else os.path.isdir(folder)
    return False


def _place() -> str | int:
    return os.environ.get("METRICS_PLACE") or os.getpid()


def _is_our_choice(folder: str) -> bool:
    return folder == os.environ.get("METRICS_FOLDER")
