"""HTTP to the API: no cookies, no redirects, nothing from the environment, and deadlines that hold.

Ordinary calls share one pool of kept-alive connections. Sign-in, refresh and revocation each get a connection of their
own: on a kept-alive one, nobody can tell whether the API had read the request when the connection broke.
"""

import functools
import os
import socket
import threading
import time
from contextlib import suppress
from typing import Any
from urllib.parse import unquote

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from accounts.conf import conf
from accounts.dialects.base import ApiAnswer, ApiCall

_POOL_CONNECTIONS = 100
_LARGEST_AUTH_ANSWER_BYTES = 1024 * 1024
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "gzip, deflate", "User-Agent": "django-bff"}


class NotSent(Exception):
    """The API has not seen the request: the connection was never established."""


class AnswerLost(Exception):
    """The request went out and no whole answer came back in time. The API may have acted on it."""


def pooled_adapter() -> HTTPAdapter:
    """The process's pool of connections to the API."""
    return _pool()


@functools.cache
def _pool() -> HTTPAdapter:
    return HTTPAdapter(pool_connections=4, pool_maxsize=_POOL_CONNECTIONS)


# A connection shared by two processes mixes up their users' answers.
os.register_at_fork(after_in_child=_pool.cache_clear)


def prepare(
    method: str,
    path: str,
    *,
    headers: dict[str, str],
    address: str = "",
    params: Any = None,
    data: Any = None,
    json: Any = None,
) -> requests.PreparedRequest:
    """A request to `path` under API_BASE_URL. `address` is the browser's, told to the API in X-Forwarded-For.

    Raises ValueError for what cannot be sent, and for a path that could lead elsewhere: to another host, or up and out
    of API_BASE_URL.
    """
    if not path.startswith("/") or {".", ".."} & set(unquote(path.split("?")[0]).split("/")):
        raise ValueError(f"the path of an API call starts with a slash, and has no dot segments: {path!r}")
    forwarded = {"X-Forwarded-For": address} if address else {}
    request = requests.PreparedRequest()
    try:
        request.prepare(
            method=method,
            url=conf.base_url + path,
            headers={**_HEADERS, **forwarded, **headers},
            params=params,
            data=data,
            json=json,
        )
    except requests.RequestException as error:
        # The caller's mistake, not the API's. Its text could quote a header, so it goes no further.
        raise ValueError(f"the call cannot be sent: {type(error).__name__}") from None
    return request


def call_once(call: ApiCall, *, address: str, ends_at: float) -> ApiAnswer:
    """Send a call on a connection of its own and read the answer, all of it before `ends_at` (time.monotonic()).

    Raises NotSent or AnswerLost.
    """
    request = prepare(call.method, call.path, headers={}, address=address, json=call.json)
    deadline = _Deadline(ends_at)
    adapter = _DeadlineAdapter(deadline)
    try:
        response = adapter.send(request, stream=True, timeout=(conf.connect_timeout, conf.read_timeout))
        body = response.raw.read(_LARGEST_AUTH_ANSWER_BYTES, decode_content=True)
    except Exception as error:  # urllib3, requests, ssl and socket each have trees of their own, and the verdict is one
        if deadline.connecting and not deadline.connected:
            raise NotSent(type(error).__name__) from error
        raise AnswerLost(type(error).__name__) from error
    finally:
        adapter.close()
        deadline.close()
    answer = ApiAnswer(
        status=response.status_code,
        headers={name.lower(): value for name, value in response.headers.items()},
        body=body,
    )
    # An answer that is whole counts, however late: a process that was stopped reads it when it goes on, and it may hold
    # the only living pair. One that the deadline cut short can look like an empty one.
    if deadline.has_passed() and not answer.json_object():
        raise AnswerLost("deadline")
    return answer


class _Deadline:
    """The end of one attempt as a whole. The timeouts of `requests` start anew with every byte that dribbles in.

    At `ends_at` (time.monotonic()) the attempt's connection is shut down, whatever waits on it.
    """

    def __init__(self, ends_at: float) -> None:
        self._ends_at = ends_at
        self._guard: socket.socket | None = None
        self._timer: threading.Timer | None = None
        self.connecting = False
        self.connected = False

    def has_passed(self) -> bool:
        return time.monotonic() >= self._ends_at

    def watch(self, connection: socket.socket) -> None:
        """From now on `connection` is shut down at the deadline, also where TLS has wrapped it in the meantime."""
        guard = self._guard = connection.dup()

        def shut_down() -> None:
            with suppress(OSError):
                guard.shutdown(socket.SHUT_RDWR)

        self._timer = threading.Timer(max(0.0, self._ends_at - time.monotonic()), shut_down)
        self._timer.daemon = True
        self._timer.start()

    def look_before_sending(self) -> None:
        """The last moment at which nothing is spent. A host that was suspended since its claim stops here."""
        if self.has_passed():
            raise TimeoutError("the deadline passed before the request was sent")
        self.connected = True

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._guard is not None:
            self._guard.close()


class _Watched(HTTPConnection):
    """A connection that obeys a deadline: mixed into urllib3's two kinds of connection by `_DeadlineAdapter`."""

    deadline: _Deadline

    def _new_conn(self) -> socket.socket:
        self.deadline.connecting = True
        connection = super()._new_conn()
        self.deadline.watch(connection)
        return connection

    def connect(self) -> None:
        super().connect()
        self.deadline.look_before_sending()


class _DeadlineAdapter(HTTPAdapter):
    """An adapter for one attempt, whose connections obey its deadline."""

    def __init__(self, deadline: _Deadline) -> None:
        super().__init__(pool_connections=1, pool_maxsize=1)
        watched = {"deadline": deadline}
        plain = type("Plain", (_Watched,), watched)
        secure = type("Secure", (_Watched, HTTPSConnection), watched)
        self.poolmanager.pool_classes_by_scheme = {
            "http": type("PlainPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
            "https": type("SecurePool", (HTTPSConnectionPool,), {"ConnectionCls": secure}),
        }
