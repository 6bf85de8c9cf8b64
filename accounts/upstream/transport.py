"""HTTP to the API: no cookies, no redirects, no settings from the environment, and one deadline for each exchange.

Ordinary calls share one pool of kept-alive connections. Sign-in, refresh and revocation each get a connection of their
own: if a kept-alive connection breaks, it is unknown whether the API has read the request.
"""

import functools
import os
import time
from collections.abc import Mapping
from http.client import HTTPConnection as PlainConnection
from typing import Any
from urllib.parse import unquote

import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from requests.utils import check_header_validity
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from accounts.conf import conf
from accounts.telemetry.request_id import current_request_ids
from accounts.telemetry.trace import add_call
from accounts.upstream.calls import ApiAnswer, ApiCall
from accounts.upstream.deadline import Deadline, DeadlineConnection, DeadlineResponse
from accounts.upstream.http_message import StrictResponse
from accounts.upstream.response import ApiResponse, read_body

#: More than any worker has threads: a call beyond them would have a connection of its own, and a line in the log.
_POOL_CONNECTIONS = 1000
_MAX_AUTH_ANSWER_BYTES = 1024 * 1024
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
    return _Adapter(pool_connections=4, pool_maxsize=_POOL_CONNECTIONS)


# If a parent and its child process shared a connection, they would read the responses to each other's users.
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
    adapter = _Adapter(pool_connections=1, pool_maxsize=1)
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


class _Response(StrictResponse, DeadlineResponse):
    pass


class _HttpConnection(DeadlineConnection):
    response_class = _Response

    def putheader(self, header: str | bytes, *values: Any) -> None:
        """Skips urllib3's search for SKIP_HEADER in each header, since no caller uses it."""
        PlainConnection.putheader(self, header, *values)


class _HttpsConnection(_HttpConnection, HTTPSConnection):
    pass


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _HttpConnection

    def urlopen(self, method: str, url: str, **options: Any) -> Any:  # type: ignore[override]
        """The headers as a dictionary: urllib3 copies them, and goes through them several times."""
        options["headers"] = dict(options["headers"].items())
        return super().urlopen(method, url, **options)


class _HttpsPool(_HttpPool, HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection


class _Adapter(HTTPAdapter):
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
