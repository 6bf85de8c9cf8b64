"""Programs that the storm starts: a port for each, a wait that ends, and no orphan left behind."""

import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable

PATIENCE_SECONDS = 30.0
POLL_SECONDS = 0.02
STOP_SECONDS = 10.0

#: Below the ports that Linux gives to outgoing connections: a server that is away for a while finds its own one free.
_PORTS = range(20_000, 32_000)


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens on now."""
    while True:
        port = random.choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def wait_until(condition: Callable[[], bool], what: str, *, seconds: float = PATIENCE_SECONDS) -> None:
    """Poll `condition`; raises TimeoutError that names `what` after so many seconds."""
    give_up_at = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= give_up_at:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(POLL_SECONDS)


def stop_process(process: "subprocess.Popen[bytes]", with_signal: int = signal.SIGTERM) -> None:
    """Ask a program of ours to end, and make it."""
    if process.poll() is None:
        process.send_signal(with_signal)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()
