"""How a process notices that it ends. tests/load/test_event_streams.py has the streams of real servers."""

import subprocess
import sys

from tests.config.processes import ROOT

PROGRAM = """if True:
    import ctypes, os, signal, threading
    from accounts import shutdown

    handled, announced = [], []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: handled.append(number))
        signal.siginterrupt(number, False)
    shutdown.SPREAD_SECONDS = 0.0
    stream = shutdown.Departure()
"""


def run(program: str) -> list[str]:
    process = subprocess.run([sys.executable, "-c", PROGRAM + program], cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    return process.stdout.split()


def test_a_signal_reaches_the_server_and_the_streams_and_interrupts_no_system_call() -> None:
    """gunicorn asks for the last one, and `signal.signal` undoes it."""
    assert run("""
    shutdown.watch_for_shutdown()
    print(stream.is_due())
    reader, writer = os.pipe()

    def end():
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        # The main thread is in the call that follows.
        threading.Event().wait(0.2)
        os.write(writer, b"x")

    threading.Thread(target=end).start()
    print(ctypes.CDLL(None).read(reader, ctypes.create_string_buffer(1), 1))
    print(*[number.name for number in map(signal.Signals, handled)], stream.is_due())
    """) == ["False", "1", "SIGINT", "True"]


def test_a_worker_that_ends_without_a_signal() -> None:
    """gunicorn's `max_requests`. Until the streams end, no other worker takes its place."""
    assert run("""
    shutdown.watch_for_shutdown(lambda: bool(announced))
    print(stream.is_due())
    announced.append(True)
    print(stream.is_due())
    """) == ["False", "True"]
