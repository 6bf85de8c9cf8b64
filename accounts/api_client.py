"""`request.api`: calls the API with the signed-in user's access token, and refreshes the token when it has expired."""

import math
import time
from functools import partialmethod
from typing import Any

import requests
from django.http import HttpRequest
from urllib3.exceptions import ReadTimeoutError

from accounts.browser.session import BrowserSession
from accounts.conf import conf
from accounts.exceptions import ApiMisbehaved, ApiUnavailable, BodyConsumed
from accounts.models import Trigger
from accounts.rotation.rotate import RotationOutcome
from accounts.session.tokens import TokenPair
from accounts.telemetry.metrics import time_call
from accounts.telemetry.trace import Trace, add_call
from accounts.upstream.deadline import Deadline
from accounts.upstream.retry_after import parse_retry_after
from accounts.upstream.transport import pooled_adapter, prepare

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_MAX_ATTEMPTS = 5
_REPEATABLE_BODIES = (type(None), bytes, str, dict, list, tuple)


class ApiClient:
    """Calls the API for one browser. A path starts with a slash, and is relative to API_BASE_URL.

    `stream` leaves the body for the caller to read and close; without it, a body has at most MAX_ANSWER_BYTES.
    `any_status` returns a 5xx response too.

    Every call raises SignInRequired; ApiUnavailable for a timeout, a broken connection or a 5xx; ApiMisbehaved for a
    redirect, for a response that is too large, and for a 401 to a token that the API has just issued; ValueError for
    arguments that cannot be sent over HTTP.
    """

    def __init__(self, browser: BrowserSession) -> None:
        self._browser = browser
        #: Whether this request has called the API.
        self.called = False

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Any = None,
        data: Any = None,
        json: Any = None,
        headers: dict[str, str] | None = None,
        stream: bool = False,
        any_status: bool = False,
    ) -> requests.Response:
        """Call the API as the signed-in user. Returns the API's own response, also for a 4xx.

        A 401 rotates the session, and the call is repeated with the new token, whatever its method: the API has not
        acted on the first one. Only forms, bytes, text and JSON can be sent again. After any other body, a 401 raises
        BodyConsumed, and the next call has a new token.
        """
        self.called = True
        started_at = time.time()
        still_valid = False
        repeatable = isinstance(data, _REPEATABLE_BODIES)
        for _ in range(_MAX_ATTEMPTS):
            self._browser.ensure_fresh(conf.refresh_ahead, trigger=Trigger.EARLY)
            tokens = self._browser.require().tokens
            request = prepare(
                method,
                path,
                headers={**(headers or {}), "Authorization": f"Bearer {tokens.access}"},
                address=self._browser.address,
                params=params,
                data=data,
                json=json,
            )
            # An upload has no deadline: its body comes only as fast as the browser sends it.
            ends_at = time.monotonic() + (conf.attempt_seconds if repeatable else math.inf)
            response = _send(request, stream=stream, retry=repeatable and method in _SAFE_METHODS, ends_at=ends_at)
            if response.status_code != 401:
                return _check_status(response, any_status=any_status)
            response.close()
            still_valid = self._rotate_after_401(tokens, started_at=started_at, still_valid=still_valid)
            if not repeatable:
                raise BodyConsumed("the access token had expired, and this body cannot be sent twice", retry_after=1)
        raise ApiUnavailable("the API's access tokens expire faster than it responds")

    get = partialmethod(request, "GET")
    post = partialmethod(request, "POST")
    put = partialmethod(request, "PUT")
    patch = partialmethod(request, "PATCH")
    delete = partialmethod(request, "DELETE")

    def _rotate_after_401(self, tokens: TokenPair, *, started_at: float, still_valid: bool) -> bool:
        """Rotate. Returns whether the refused token is still valid. Raises ApiMisbehaved if it was issued just now."""
        just_minted = self._browser.minted and tokens.received_at >= started_at
        if still_valid or (just_minted and not _may_have_expired(tokens)):
            raise ApiMisbehaved("the API refuses an access token that it has just issued or called valid")
        return self._browser.rotate(Trigger.UNAUTHORIZED) is RotationOutcome.STILL_VALID


def _may_have_expired(tokens: TokenPair) -> bool:
    """Whether a 401 can mean that the token has expired. JWTs count whole seconds, so it may expire a second early."""
    left = tokens.access_seconds_left()
    return left is not None and left <= 1.0


def _send(request: requests.PreparedRequest, *, stream: bool, retry: bool, ends_at: float) -> requests.Response:
    """Send over a pooled connection, and read the response by `ends_at` (time.monotonic()); with `stream` its headers.

    `retry` allows one repetition after a broken connection. Raises ApiUnavailable or ApiMisbehaved.
    """
    deadline = Deadline(ends_at)
    started = time.monotonic()
    try:
        with deadline:
            response = pooled_adapter().send(
                request, stream=stream, timeout=(conf.connect_timeout, conf.read_timeout), proxies={}
            )
            if not stream:
                # Reads the body, which gives the connection back to the pool.
                _ = response.content
    except ApiMisbehaved:
        # The response is too large to be read whole, but the call counts as answered.
        time_call(response.status_code, time.monotonic() - started)
        add_call(request.method, request.path_url, status=response.status_code, since=started)
        raise
    except requests.RequestException as error:
        time_call(None, time.monotonic() - started)
        add_call(request.method, request.path_url, status=None, since=started)
        # Requests raises a ConnectionError when a body stalls.
        stalled = bool(error.args) and isinstance(error.args[0], ReadTimeoutError)
        if isinstance(error, requests.Timeout) or stalled or deadline.has_passed():
            raise ApiUnavailable("no response in time") from error
        if retry:
            # Usually the API closed a kept-alive connection at the moment of sending.
            return _send(request, stream=stream, retry=False, ends_at=ends_at)
        raise ApiUnavailable(f"no response: {type(error).__name__}") from error
    time_call(response.status_code, time.monotonic() - started)
    add_call(request.method, request.path_url, status=response.status_code, since=started)
    if deadline.has_passed() and not stream:
        # Without a Content-Length, a body that the deadline cut short looks whole.
        raise ApiUnavailable("no response in time")
    return response


def _check_status(response: requests.Response, *, any_status: bool) -> requests.Response:
    """Returns `response`. Raises ApiUnavailable for a 5xx, unless `any_status`, and ApiMisbehaved for a redirect."""
    status = response.status_code
    # A status above 599 is invalid, and counts as a 5xx (RFC 9110 section 15).
    if status >= 500 and not (any_status and status < 600):
        response.close()
        raise ApiUnavailable(f"status {status}", retry_after=parse_retry_after(response.headers.get("Retry-After")))
    if 300 <= status < 400 and response.is_redirect:
        # Following it could send the user's token to another host.
        response.close()
        raise ApiMisbehaved(f"status {status}: a redirect")
    return response


class ApiRequest(HttpRequest):
    """A request that went through `accounts.middleware.ApiSessionMiddleware`."""

    api_session: BrowserSession
    api: ApiClient
    #: The request's trace; None unless API_TRACE is on.
    trace: Trace | None
