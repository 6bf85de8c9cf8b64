"""gunicorn reads this file from the folder in which it starts. Options on its command line take precedence."""

import atexit
import os
import secrets
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

# From 25.1 on, gunicorn opens a socket in the home folder that can stop the site. Older versions ignore this line.
control_socket_disable = True

# With --access-logfile: without queries and referrers, because the address of an OAuth callback has a code in it.
access_log_format = '%(h)s %(t)s "%(m)s %(U)s" %(s)s %(b)s %(L)s'

# The workers share their metrics in this folder (accounts/telemetry/metrics_folder.py makes it), so that /metrics shows
# the sum, whichever worker responds. gunicorn reads this file again at each SIGHUP, and the name stays.
_name = f"metrics-{os.getpid()}-"
if _name not in os.environ.get("METRICS_FOLDER", ""):
    _folder = os.environ["METRICS_FOLDER"] = os.path.join(tempfile.gettempdir(), _name + secrets.token_hex(16))
    _owner = os.getpid()
    atexit.register(lambda: os.getpid() == _owner and shutil.rmtree(_folder, ignore_errors=True))


def pre_fork(server: Any, worker: Any) -> None:
    """Give a new worker a place that no living worker has. It continues the counts of the last worker there."""
    taken = {other.place for other in server.WORKERS.values()}
    places = (f"{server.pid}-{number}" for number in count())
    worker.place = next(place for place in places if place not in taken)


def post_fork(server: Any, worker: Any) -> None:
    os.environ["METRICS_PLACE"] = worker.place
    if server.cfg.preload_app:
        from accounts.telemetry import metrics_folder

        if metrics_folder.are_shared():
            # This process is still the user that started gunicorn, and becomes the one of --user.
            metrics_folder.make_folder(server.cfg.uid, server.cfg.gid)


def post_worker_init(worker: Any) -> None:
    """Let streams end with the worker. Remove queries from what gunicorn logs of requests that it could not handle."""
    from accounts.shutdown import watch_for_shutdown
    from config.logs import without_queries

    # With max_requests, a worker ends without a signal, and a new one begins only then.
    watch_for_shutdown(lambda: not worker.alive)

    def hide_queries(handler: Any) -> None:
        format_record = handler.format
        handler.format = lambda record: without_queries(format_record(record))

    for handler in worker.log.error_log.handlers:
        hide_queries(handler)


def child_exit(server: Any, worker: Any) -> None:
    """Delete the gauges of a worker that has ended. Its counts stay."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(worker.place, os.environ.get("PROMETHEUS_MULTIPROC_DIR") or os.environ["METRICS_FOLDER"])
