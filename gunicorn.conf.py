"""Read by gunicorn itself, from the folder that it is started in. What is given on its command line comes first."""

import atexit
import os
import shutil
import tempfile
from itertools import count
from typing import Any

# Large tokens take several cookies, up to 16 KB, and all of them are one header line. The default is 8190 bytes.
limit_request_field_size = 32 * 1024

# Seconds that workers get to finish, on a reload and on the way out. Longer than a page that rotates may take, or it is
# cut off after it has spent the refresh token and before it has stored the new one. README.md reckons it.
graceful_timeout = 90

# A header is a header. By default gunicorn takes SCRIPT_NAME from a proxy on this machine for its own, and a proxy that
# passes on what browsers send would let them choose the path that the site sees, past whatever the proxy keeps closed.
forwarder_headers = ""

if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
    # Where the workers put their counts together, so that /metrics tells of all of them, whichever answers.
    _folder = tempfile.mkdtemp(prefix="metrics-")
    _owner = os.getpid()
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = _folder
    atexit.register(lambda: os.getpid() == _owner and shutil.rmtree(_folder, ignore_errors=True))

from prometheus_client import multiprocess, values  # noqa: E402  # asks for the folder as it is imported

_PLACE = "METRICS_PLACE"

if not hasattr(values, "by_place"):
    # Files by the places that workers take, and not by their process ids, or each worker that ever was leaves its own.
    # Once only: gunicorn reads this file again at each SIGHUP, and two classes must not write to one file.
    values.by_place = values.ValueClass = values.MultiProcessValue(lambda: os.environ.get(_PLACE) or os.getpid())


def pre_fork(server: Any, worker: Any) -> None:
    """Give a new worker a place that no living one has: it goes on with the counts of the one before it."""
    taken = {other.place for other in server.WORKERS.values()}
    places = (f"{server.pid}-{number}" for number in count())
    worker.place = next(place for place in places if place not in taken)


def post_fork(server: Any, worker: Any) -> None:
    os.environ[_PLACE] = worker.place


def child_exit(server: Any, worker: Any) -> None:
    """Forget the gauges of a worker that is gone; its counts stay."""
    multiprocess.mark_process_dead(worker.place)
