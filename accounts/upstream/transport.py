"""HTTP to the API: no cookies, no redirects, no settings from the environment, and one deadline for each exchange.

Ordinary calls share one pool of kept-alive connections. Sign-in, refresh and revocation each get a connection of their
own: if a kept-alive connection breaks, it is unknown whether the API has read the request.
"""

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from requests.utils import check_header_validity

from accounts.conf import conf
from accounts.telemetry.api_call import ReportedCall
from accounts.telemetry.metrics import time_token_call
from accounts.telemetry.request_id import current_request_ids
from accounts.upstream.calls import ApiAnswer, ApiCall
from accounts.upstream.connections import Adapter
from accounts.upstream.deadline import Deadline
from accounts.upstream.dpop import WANTS_NONCE, add_proof, proof_error, read_nonce, remember_nonce
from accounts.upstream.failure_reasons import describe_failure
from accounts.upstream.response import read_body

#: More than any worker has threads. Each call beyond them opens a connection that is not kept.
_POOL_CONNECTIONS = 1000
_MAX_RESPONSE_BYTES = 1024 * 1024
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "gzip, deflate", "User-Agent": "django-bff"}


class NotSent(Exception):
    """The API has not seen the request: the connection was never established. The text quotes nothing of the call."""


class AnswerLost(Exception):
    """The request was sent, and no complete response arrived in time. The API may have acted on it.

    The text quotes nothing of the response.
    """


def pooled_adapter() -> HTTPAdapter:
    """This process's pool of connections to the API. Calls inside a `Deadline` block obey it."""
    return _pool()


@functools.cache
def _pool() -> HTTPAdapter:
    return Adapter(pool_connections=4, pool_maxsize=_POOL_CONNECTIONS)


def new_adapter() -> HTTPAdapter:
    """An adapter without connections, for one call over a new one. Calls inside a `Deadline` block obey it."""
    return Adapter(pool_connections=1, pool_maxsize=1)


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


def call_with_nonce(build: Callable[[], ApiCall], *, address: str, ends_at: float) -> ApiAnswer:
    """`call_once` with the call that `build` makes; again with another one, if the server wants a nonce in its proof.

    The server has not acted on the first call then, so this counts as one attempt. `build` is called for each, because
    a server accepts the JWT that authenticates the client only once.
    """
    call = build()
    answer = call_once(call, address=address, ends_at=ends_at)
    nonce = read_nonce(answer.headers)
    if not (call.dpop_key and nonce and 400 <= answer.status < 500):
        return answer
    if WANTS_NONCE not in (proof_error(answer.headers), answer.json_object().get("error")):
        return answer
    return call_once(replace(build(), dpop_nonce=nonce), address=address, ends_at=ends_at)


def call_once(call: ApiCall, *, address: str, ends_at: float) -> ApiAnswer:
    """Send a call on a connection of its own and read the whole response, before `ends_at` (time.monotonic()).

    Raises NotSent or AnswerLost.
    """
    try:
        url = _escape_url(call.path if "://" in call.path else conf.base_url + call.path)
    except ValueError as error:
        raise NotSent("the address cannot be called") from error
    request = _prepare(call.method, url, headers=call.headers, address=address, data=call.form, json=call.json)
    if call.dpop_key:
        add_proof(request, call.dpop_key, nonce=call.dpop_nonce)
    adapter = new_adapter()
    with Deadline(ends_at) as deadline:
        try:
            with ReportedCall(request, time_token_call) as reported:
                response = adapter.send(request, stream=True, timeout=(conf.connect_timeout, conf.read_timeout))
                body = read_body(response, _MAX_RESPONSE_BYTES)
                response.close()
                reported.status = response.status_code
        # urllib3, requests, ssl and socket have no exception class in common.
        except Exception as error:
            reason = "the deadline passed" if deadline.has_passed() else describe_failure(error)
            if deadline.connecting and not deadline.connected:
                raise NotSent(reason) from error
            raise AnswerLost(reason) from error
        finally:
            adapter.close()
    answer = ApiAnswer(
        status=response.status_code,
        headers={name.lower(): value for name, value in response.headers.items()},
        body=body,
    )
    if call.dpop_key:
        remember_nonce(request, answer.headers, used=call.dpop_nonce, error=answer.json_object().get("error"))
    # A complete response counts, even after the deadline: a process that was suspended reads it when it resumes, and it
    # may hold the only valid token pair. A response that the deadline cut short can look like an empty one.
    if deadline.has_passed() and not answer.json_object():
        raise AnswerLost("the deadline passed")
    return answer
