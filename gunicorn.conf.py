"""gunicorn reads this file from the folder in which it starts. Options on its command line take precedence."""

import atexit
import os
import shutil
import tempfile
from itertools import count
from typing import Any

# Large tokens take several cookies, up to 16 KB, which are one header line together. The default is 8190 bytes.
limit_request_field_size = 32 * 1024
# gunicorn's largest; the default is 4094 bytes. The address of the sign-in page contains the page that the user wanted
# (MAX_NEXT_BYTES in accounts/browser/next_page.py).
limit_request_line = 8190

# Seconds that workers get to finish on a reload and a stop. A page that rotates must never take longer, or it could be
# cut off after it has spent the refresh token and before it has stored the new one. README.md has the sum.
graceful_timeout = 90

# By default gunicorn believes the header SCRIPT_NAME from a proxy on this machine. A proxy that forwards the headers of
# browsers would let them choose the path that the site sees, and so reach paths that the proxy blocks.
forwarder_headers = ""

if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
    # The workers share their counts in this folder, so that /metrics shows the sum, whichever worker responds.
    _folder = tempfile.mkdtemp(prefix="metrics-")
    _owner = os.getpid()
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = _folder
    atexit.register(lambda: os.getpid() == _owner and shutil.rmtree(_folder, ignore_errors=True))

from prometheus_client import multiprocess, values  # noqa: E402  # reads the folder at its import

_PLACE = "METRICS_PLACE"

if not hasattr(values, "by_place"):
    # One file for each place of a worker. With one for each process id, every replaced worker would leave a file.
    # Once only: gunicorn reads this file again at each SIGHUP, and two classes must not write to one file.
    values.by_place = values.ValueClass = values.MultiProcessValue(lambda: os.environ.get(_PLACE) or os.getpid())


def pre_fork(server: Any, worker: Any) -> None:
    """Give a new worker a place that no living worker has. It continues the counts of the last worker there."""
    taken = {other.place for other in server.WORKERS.values()}
    places = (f"{server.pid}-{number}" for number in count())
    worker.place = next(place for place in places if place not in taken)


def post_fork(server: Any, worker: Any) -> None:
    os.environ[_PLACE] = worker.place


def child_exit(server: Any, worker: Any) -> None:
    """Delete the gauges of a worker that has ended. Its counts stay."""
    multiprocess.mark_process_dead(worker.place)
