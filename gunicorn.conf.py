"""Read by gunicorn itself, from the folder that it is started in. What is given on its command line comes first."""

import atexit
import os
import shutil
import tempfile
from typing import Any

# Large tokens take several cookies, up to 16 KB, and all of them are one header line. The default is 8190 bytes.
limit_request_field_size = 32 * 1024

# A header is a header. By default gunicorn takes SCRIPT_NAME from a proxy on this machine for its own, and a proxy that
# passes on what browsers send would let them choose the path that the site sees, past whatever the proxy keeps closed.
forwarder_headers = ""

if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
    # Where the workers put their counts together, so that /metrics tells of all of them, whichever answers.
    _folder = tempfile.mkdtemp(prefix="metrics-")
    _owner = os.getpid()
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = _folder
    atexit.register(lambda: os.getpid() == _owner and shutil.rmtree(_folder, ignore_errors=True))


def child_exit(server: Any, worker: Any) -> None:
    """Forget the gauges of a worker that is gone; its counts stay."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(worker.pid)
