"""The demo API in a process of its own, so that it takes no turns with the threads that measure."""

import http.client
import json
import multiprocessing
from collections import Counter
from contextlib import closing
from multiprocessing.connection import Connection
from typing import Any
from urllib.parse import urlsplit

from tests.demo_api.server import DEMO_USERS, DemoApi, Fault
from tests.load.browser import ADA


class ApiProcess:
    """The API, as a context manager. `call_seconds` and `refresh_seconds` are what its answers take at least."""

    def __init__(self, *, access_ttl: float = 3600.0, call_seconds: float = 0.0, refresh_seconds: float = 0.0) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        options = {"access_ttl": access_ttl, "processing_seconds": call_seconds}
        self._process = context.Process(target=_serve, args=(theirs, options, refresh_seconds), daemon=True)

    def __enter__(self) -> "ApiProcess":
        self._process.start()
        self.url = str(self._ours.recv())
        return self

    def __exit__(self, *_: object) -> None:
        self._ours.close()
        self._process.join()

    def sign_in(self) -> str:
        """An access token of a sign-in past the site."""
        body = json.dumps({"email": ADA, "password": DEMO_USERS[ADA]})
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc)
        with closing(connection):
            connection.request("POST", "/auth/login", body)
            return str(json.loads(connection.getresponse().read())["accessToken"])

    def take_calls(self) -> Counter[str]:
        """How often each path was called since the last time."""
        self._ours.send("take calls")
        calls: Counter[str] = self._ours.recv()
        return calls


def _serve(orders: Connection, options: dict[str, Any], refresh_seconds: float) -> None:
    with DemoApi(**options) as api:
        if refresh_seconds:
            api.fail(*api.refresh_call, Fault.delay(refresh_seconds), times=None)
        orders.send(api.url)
        while True:
            try:
                orders.recv()
            except EOFError:
                return
            orders.send(Counter(call.path for call in api.calls))
            api.forget_calls()
