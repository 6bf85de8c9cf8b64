"""`python -m tests.demo_api`: the API alone, until Ctrl-C."""

import argparse
import errno
import signal
import sys
import threading

from tests.demo_api.server import DemoApi
from tests.demo_api.users import DEMO_USERS


def main() -> int:
    options = _read_options()
    stopped = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stopped.set())
    api = DemoApi(
        options.port,
        options.access_ttl,
        options.refresh_ttl,
        host=options.host,
        keep_calls=False,
        log=lambda line: print(line, file=sys.stderr, flush=True),
    )
    try:
        api.start_serving()
    except OSError as error:
        print(f"demo API: {_explain(error, options.host, options.port)}", file=sys.stderr)
        return 1
    with api:
        _introduce(api)
        stopped.wait()
    return 0


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.demo_api", description="A token-protected API to try with.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=8001, help="0 takes a free one (default: %(default)s)")
    parser.add_argument("--access-ttl", type=_seconds, default=60, help="seconds (default: %(default)s)")
    parser.add_argument("--refresh-ttl", type=_seconds, default=1800, help="seconds (default: %(default)s)")
    return parser.parse_args()


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return port


def _seconds(text: str) -> int:
    seconds = int(text)
    if not 0 < seconds <= 10**9:
        raise argparse.ArgumentTypeError("a whole number of seconds above 0, please")
    return seconds


def _explain(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is taken; choose another with --port."
    return f"cannot listen on {host}:{port}: {error.strerror or error}."


def _introduce(api: DemoApi) -> None:
    print(f"Demo API: {api.url}")
    print("Demo sign-ins:")
    for email, password in DEMO_USERS.items():
        print(f"  {email}  {password}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
