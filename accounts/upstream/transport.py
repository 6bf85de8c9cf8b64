"""HTTP to the API: no cookies, no redirects, nothing from the environment, and deadlines that hold.

Ordinary calls share one pool of kept-alive connections. Sign-in, refresh and revocation each get a connection of their
own: on a kept-alive one, nobody can tell whether the API had read the request when the connection broke.
"""

import functools
import os
import re
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from email.message import Message
from http.client import HTTPConnection as PlainConnection
from http.client import HTTPException, HTTPResponse
from typing import Any, Self
from urllib.parse import unquote

import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from requests.utils import check_header_validity
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HeaderParsingError
from urllib3.util.response import assert_header_parsing

from accounts.conf import conf
from accounts.telemetry.request_id import current_request_ids
from accounts.telemetry.trace import add_call
from accounts.upstream.calls import ApiAnswer, ApiCall
from accounts.upstream.response import ApiResponse, read_body

#: More than any worker has threads: a call beyond them would have a connection of its own, and a line in the log.
_POOL_CONNECTIONS = 1000
_MAX_AUTH_ANSWER_BYTES = 1024 * 1024
_WATCHDOG_SECONDS = 0.1
_LENGTH = re.compile(r"[0-9]{1,18}")
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "gzip, deflate", "User-Agent": "django-bff"}


class NotSent(Exception):
    """The API has not seen the request: the connection was never established."""


class AnswerLost(Exception):
    """The request went out and no whole answer came back in time. The API may have acted on it."""


def pooled_adapter() -> HTTPAdapter:
    """The process's pool of connections to the API. Inside a `Deadline`, they obey it."""
    return _pool()


@functools.cache
def _pool() -> HTTPAdapter:
    return _WatchedAdapter(pool_connections=4, pool_maxsize=_POOL_CONNECTIONS)


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

    It carries the id and the trace of the browser's request that this thread works on.

    Raises ValueError for what cannot be sent, and for a path that could lead elsewhere: to another host, or up and out
    of API_BASE_URL.
    """
    # Most calls go to the same few paths. Queries differ from call to call, and say more than is to be kept.
    spell = _spell_known if params is None and "?" not in path else _spell
    return _prepare(method, spell(conf.base_url, path, params), headers=headers, address=address, data=data, json=json)


def _spell(base_url: str, path: str, params: Any) -> str:
    """The URL of a call of the API, with all that needs it escaped. Raises ValueError; see `prepare`."""
    # What follows a semicolon in a segment is no part of its name to some servers: to them "..;" is "..".
    segments = {segment.partition(";")[0] for segment in unquote(path.split("?")[0]).split("/")}
    if not path.startswith("/") or {".", ".."} & segments:
        raise ValueError(f"the path of an API call starts with a slash, and has no dot segments: {path!r}")
    return _escape(base_url + path, params)


_spell_known = functools.lru_cache(maxsize=256)(_spell)


def _escape(url: str, params: Any = None) -> str:
    request = requests.PreparedRequest()
    try:
        request.prepare_url(url, params)
    except requests.RequestException as error:
        raise ValueError(f"the call cannot be sent: {type(error).__name__}") from None
    return str(request.url)


def _prepare(
    method: str, url: str, *, headers: Mapping[str, str], address: str, data: Any = None, json: Any = None
) -> requests.PreparedRequest:
    """What `requests` prepares, but for cookies, hooks and passwords from the URL: looking for those takes the longest,
    and there are none. Of the headers, only the caller's can hold what no header may.
    """
    request = requests.PreparedRequest()
    request.url = url
    request.headers = CaseInsensitiveDict({**_HEADERS, **current_request_ids().headers()})
    if address:
        request.headers["X-Forwarded-For"] = address
    try:
        request.prepare_method(method)
        for header in headers.items():
            check_header_validity(header)
        request.headers.update(headers)
        request.prepare_body(data, None, json)
    except requests.RequestException as error:
        # The caller's mistake, not the API's. Its text could quote a header, so it goes no further.
        raise ValueError(f"the call cannot be sent: {type(error).__name__}") from None
    return request


def check_url(url: str) -> None:
    """Raises ValueError for a whole URL that no request can be sent to. One is spelled in ASCII (RFC 3986)."""
    url.encode("ascii")
    _escape(url)


def call_once(call: ApiCall, *, address: str, ends_at: float) -> ApiAnswer:
    """Send a call on a connection of its own and read the answer, all of it before `ends_at` (time.monotonic()).

    Raises NotSent or AnswerLost.
    """
    url = call.path if "://" in call.path else conf.base_url + call.path
    request = _prepare(call.method, _escape(url), headers=call.headers, address=address, data=call.form, json=call.json)
    adapter = _WatchedAdapter(pool_connections=1, pool_maxsize=1)
    started, status = time.monotonic(), None
    with Deadline(ends_at) as deadline:
        try:
            response = adapter.send(request, stream=True, timeout=(conf.connect_timeout, conf.read_timeout))
            body = read_body(response, _MAX_AUTH_ANSWER_BYTES)
            response.close()
            status = response.status_code
        except (
            Exception
        ) as error:  # urllib3, requests, ssl and socket each have a tree of their own; the verdict is one
            if deadline.connecting and not deadline.connected:
                raise NotSent(type(error).__name__) from error
            raise AnswerLost(type(error).__name__) from error
        finally:
            adapter.close()
            add_call(request.method, request.path_url, status=status, since=started)
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


class Deadline:
    """The end of one exchange as a whole. The timeouts of `requests` start anew with every byte that dribbles in.

    A context manager: whatever connection this thread uses inside is shut down at `ends_at` (time.monotonic()), or a
    moment later, and whoever waits on it is free.
    """

    def __init__(self, ends_at: float) -> None:
        self.ends_at = ends_at
        #: Whether a connection was begun, and whether one was established, so that the API may have read something.
        self.connecting = self.connected = False
        self._guards: list[socket.socket] = []
        self._left_open: list[socket.socket] = []

    def has_passed(self) -> bool:
        return time.monotonic() >= self.ends_at

    def watch(self, guard: socket.socket) -> None:
        """From now on the connection that `guard` is a handle of ends at the deadline."""
        self._guards.append(guard)
        _watchdog.add(guard, self)

    def accept_update(self, guard: socket.socket) -> bool:
        """Whether the deadline closes `guard`: the connection was closed before its answer has been read to the end."""
        if guard in self._guards:
            self._left_open.append(guard)
        return guard in self._guards

    def look_before_sending(self) -> None:
        """The last moment at which nothing is spent. A host that was suspended since its claim stops here."""
        if self.has_passed():
            raise TimeoutError("the deadline passed before the request was sent")
        self.connected = True

    def __enter__(self) -> Self:
        _current.deadline = self
        return self

    def __exit__(self, *_: object) -> None:
        _current.deadline = None
        for guard in self._guards:
            _watchdog.remove(guard, self)
        for guard in self._left_open:
            guard.close()


_current = threading.local()


def _current_deadline() -> Deadline | None:
    return getattr(_current, "deadline", None)


class _Watchdog:
    """Shuts down the connections whose deadline has passed, in a thread of its own: one for the process."""

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        self._lock = threading.Lock()
        self._watched: dict[socket.socket, Deadline] = {}
        self._awake = False

    def add(self, guard: socket.socket, deadline: Deadline) -> None:
        """An earlier exchange over the same connection is over: what it had to say about its end does not count."""
        with self._lock:
            self._watched[guard] = deadline
            if not self._awake:
                self._awake = True
                threading.Thread(target=self._run, name="deadlines", daemon=True).start()

    def remove(self, guard: socket.socket, deadline: Deadline) -> None:
        """Unless the next exchange over this connection has begun: its deadline stays."""
        with self._lock:
            if self._watched.get(guard) is deadline:
                del self._watched[guard]

    def _run(self) -> None:
        while True:
            time.sleep(_WATCHDOG_SECONDS)
            with self._lock:
                for guard, deadline in self._watched.items():
                    if deadline.has_passed():
                        with suppress(OSError):
                            guard.shutdown(socket.SHUT_RDWR)


_watchdog = _Watchdog()

# A child process has none of its parent's threads, and a connection shared by two mixes up their users' answers.
os.register_at_fork(after_in_child=_watchdog.begin_anew)
os.register_at_fork(after_in_child=_pool.cache_clear)


class _WholeResponse(HTTPResponse):
    """Reads the head of an answer by the letter of the RFC, where the standard library guesses.

    A connection is used again, by the request of another user. What one answer leaves on it would be the next one's.
    """

    def begin(self) -> None:
        """Raises HTTPException for a head that leaves it open what belongs to the answer."""
        super().begin()
        while self.status < 200:
            # Interim responses, all of 1xx and not 100 alone (RFC 9110 section 15.2): the answer is still to come.
            self.headers = None  # type: ignore[assignment]  # what tells `begin` that nothing has been read yet
            super().begin()
        try:
            assert_header_parsing(self.headers)
        except HeaderParsingError:
            # What comes after a line that is no header would not be read. The error quotes it, so it goes no further.
            raise HTTPException("the answer's head cannot be read") from None
        if not _has_one_end(self.headers):
            raise HTTPException("the answer's head does not say where the answer ends")


def _has_one_end(headers: Message) -> bool:
    """Whether all who read an answer with these headers find its end at the same place (RFC 9112 section 6.3)."""
    codings: list[str] = []
    lengths: set[str] = set()
    for name, value in headers.raw_items():
        match name.lower():
            case "transfer-encoding":
                codings.append(value.lower())
            case "content-length":
                lengths.update(length.strip() for length in value.split(","))
    if "chunked" in ",".join(codings):
        return codings == ["chunked"]
    return len(lengths) < 2 and all(_LENGTH.fullmatch(length) for length in lengths)


class _Watched(HTTPConnection):
    """A connection that obeys the deadline of the thread that uses it, if there is one."""

    response_class = _WholeResponse
    #: A second handle of the connection, to end it by from another thread: TLS wraps the first one.
    _guard: socket.socket | None = None

    def _new_conn(self) -> socket.socket:
        deadline = _current_deadline()
        if deadline is not None:
            deadline.connecting = True
        connection = super()._new_conn()
        self._guard = socket.socket(fileno=os.dup(connection.fileno()))
        if deadline is not None:
            deadline.watch(self._guard)
        return connection

    def connect(self) -> None:
        super().connect()
        deadline = _current_deadline()
        if deadline is not None:
            deadline.look_before_sending()

    def request(self, *args: Any, **kwargs: Any) -> None:
        deadline = _current_deadline()
        if deadline is not None and self._guard is not None and not deadline.connected:
            # Kept alive from an earlier exchange, so it is not watched yet.
            deadline.connected = True
            deadline.watch(self._guard)
        super().request(*args, **kwargs)

    def putheader(self, header: str | bytes, *values: Any) -> None:
        """As the standard library does: nobody here asks urllib3 to leave a header out, which it looks for in each."""
        PlainConnection.putheader(self, header, *values)

    def close(self) -> None:
        super().close()
        guard, self._guard = self._guard, None
        deadline = _current_deadline()
        if guard is not None and not (deadline is not None and deadline.accept_update(guard)):
            guard.close()


class _WatchedHttps(_Watched, HTTPSConnection):
    pass


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Watched

    def urlopen(self, method: str, url: str, **options: Any) -> Any:  # type: ignore[override]
        """The headers as a dictionary: urllib3 copies them, and goes through them several times."""
        options["headers"] = dict(options["headers"].items())
        return super().urlopen(method, url, **options)


class _HttpsPool(_HttpPool, HTTPSConnectionPool):
    ConnectionCls = _WatchedHttps


class _WatchedAdapter(HTTPAdapter):
    """An adapter whose connections obey deadlines. It knows no proxies, and leaves out what every call would repeat."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # The last one alone: a pool that is let go closes its connections, and there is but one API.
        self._last: tuple[str, HTTPConnectionPool] | None = None

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}

    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> HTTPConnectionPool:
        """The pool for the request's scheme, host and port. (A pool that was closed has no `pool` any more.)"""
        origin = "/".join(str(request.url).split("/", 3)[:3])
        last = self._last
        if last is None or last[0] != origin or last[1].pool is None:
            self._last = last = (origin, super().get_connection_with_tls_context(request, *args, **kwargs))
        return last[1]

    def request_url(self, request: requests.PreparedRequest, proxies: Any) -> str:
        return request.path_url

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        """An ApiResponse, which has the same attributes. Cookies are sought only where some are set."""
        original = resp._original_response
        if "Set-Cookie" not in resp.headers:
            resp._original_response = None
        try:
            response = super().build_response(req, resp)
        finally:
            resp._original_response = original
        response.__class__ = ApiResponse
        return response
