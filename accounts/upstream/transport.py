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

#: More than any worker has threads. Each call beyond them opens a connection that is not kept, and logs a warning.
_POOL_CONNECTIONS = 1000
_MAX_RESPONSE_BYTES = 1024 * 1024
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "gzip, deflate", "User-Agent": "django-bff"}


class NotSent(Exception):
    """The API has not seen the request: the connection was never established."""


class AnswerLost(Exception):
    """The request was sent, and no complete response arrived in time. The API may have acted on it."""


def pooled_adapter() -> HTTPAdapter:
    """This process's pool of connections to the API. Calls inside a `Deadline` block obey it."""
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
    """A request to `path` under API_BASE_URL. X-Forwarded-For tells the API the browser's `address`.

    The request carries the request id and the traceparent of the browser's request that this thread works on.

    Raises ValueError for a request that cannot be sent, and for a path that could lead to another host or out of
    API_BASE_URL.
    """
    # Most calls use the same few paths. Queries differ from call to call, and may hold data that must not be kept.
    build = _build_known_url if params is None and "?" not in path else _build_url
    return _prepare(method, build(conf.base_url, path, params), headers=headers, address=address, data=data, json=json)


def _build_url(base_url: str, path: str, params: Any) -> str:
    """The escaped URL of an API call. Raises ValueError; see `prepare`."""
    # Some servers ignore what follows a semicolon in a segment: they read "..;" as "..".
    segments = {segment.partition(";")[0] for segment in unquote(path.split("?")[0]).split("/")}
    if not path.startswith("/") or {".", ".."} & segments:
        raise ValueError(f"the path of an API call starts with a slash and has no dot segments: {path!r}")
    return _escape_url(base_url + path, params)


_build_known_url = functools.lru_cache(maxsize=256)(_build_url)


def _escape_url(url: str, params: Any = None) -> str:
    request = requests.PreparedRequest()
    try:
        request.prepare_url(url, params)
    except requests.RequestException as error:
        raise ValueError(f"the call cannot be sent: {type(error).__name__}") from None
    return str(request.url)


def _prepare(
    method: str, url: str, *, headers: Mapping[str, str], address: str, data: Any = None, json: Any = None
) -> requests.PreparedRequest:
    """Prepare as `requests` does, without its slow search for cookies, hooks and passwords in the URL: there are none.

    Only the caller's headers are checked for forbidden characters. The others cannot hold any.
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
        # The caller's mistake, not the API's. The message of the original error may quote a header.
        raise ValueError(f"the call cannot be sent: {type(error).__name__}") from None
    return request


def check_url(url: str) -> None:
    """Raises ValueError for an absolute URL that cannot be requested. URLs are ASCII (RFC 3986)."""
    url.encode("ascii")
    _escape_url(url)


def call_once(call: ApiCall, *, address: str, ends_at: float) -> ApiAnswer:
    """Send a call on a connection of its own and read the whole response, before `ends_at` (time.monotonic()).

    Raises NotSent or AnswerLost.
    """
    url = call.path if "://" in call.path else conf.base_url + call.path
    request = _prepare(
        call.method, _escape_url(url), headers=call.headers, address=address, data=call.form, json=call.json
    )
    adapter = _Adapter(pool_connections=1, pool_maxsize=1)
    started, status = time.monotonic(), None
    with Deadline(ends_at) as deadline:
        try:
            response = adapter.send(request, stream=True, timeout=(conf.connect_timeout, conf.read_timeout))
            body = read_body(response, _MAX_RESPONSE_BYTES)
            response.close()
            status = response.status_code
        # urllib3, requests, ssl and socket have no exception class in common.
        except Exception as error:
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
    # A complete response counts, even after the deadline: a process that was suspended reads it when it resumes, and it
    # may hold the only valid token pair. A response that the deadline cut short can look like an empty one.
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
        """Passes the headers as a dict, since urllib3 copies and iterates them several times."""
        options["headers"] = dict(options["headers"].items())
        return super().urlopen(method, url, **options)


class _HttpsPool(_HttpPool, HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection


class _Adapter(HTTPAdapter):
    """An adapter whose connections obey deadlines. It uses no proxies, and skips work that each call would repeat."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # Only the last pool is kept, because there is one API. A dropped pool closes its connections.
        self._last_pool: tuple[str, HTTPConnectionPool] | None = None

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}

    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> HTTPConnectionPool:
        """The pool for the request's scheme, host and port. The `pool` of a closed one is None."""
        origin = "/".join(str(request.url).split("/", 3)[:3])
        last = self._last_pool
        if last is None or last[0] != origin or last[1].pool is None:
            self._last_pool = last = (origin, super().get_connection_with_tls_context(request, *args, **kwargs))
        return last[1]

    def request_url(self, request: requests.PreparedRequest, proxies: Any) -> str:
        return request.path_url

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        """Returns an ApiResponse, which has the same attributes. Cookies are parsed only if the response sets some."""
        original = resp._original_response
        if "Set-Cookie" not in resp.headers:
            resp._original_response = None
        try:
            response = super().build_response(req, resp)
        finally:
            resp._original_response = original
        response.__class__ = ApiResponse
        return response
