"""`request.api`: the API as the signed-in user sees it, with the bearer token, and a refresh where one is needed."""

import math
import time
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
_MAX_CALLS = 5
_SENT_TWICE = (type(None), bytes, str, dict, list, tuple)


class ApiClient:
    """Calls the API for one browser. A path starts with a slash, and is relative to API_BASE_URL."""

    def __init__(self, browser: BrowserSession) -> None:
        self._browser = browser
        #: Whether this request has called the API.
        self.called = False

    def get(self, path: str, **options: Any) -> requests.Response:
        """GET; see `request`."""
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        """POST; see `request`."""
        return self.request("POST", path, **options)

    def put(self, path: str, **options: Any) -> requests.Response:
        """PUT; see `request`."""
        return self.request("PUT", path, **options)

    def patch(self, path: str, **options: Any) -> requests.Response:
        """PATCH; see `request`."""
        return self.request("PATCH", path, **options)

    def delete(self, path: str, **options: Any) -> requests.Response:
        """DELETE; see `request`."""
        return self.request("DELETE", path, **options)

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
        """Call the API as the signed-in user; the answer is the API's own, up to and including its 4xx.

        A 401 rotates the session, and the call is repeated with the new token, whatever its method: the API has not
        acted on the first one. Only bytes, text and JSON can be sent again; after any other body, a 401 raises
        BodyConsumed, and the next call has a new token.

        `stream` leaves the body for the caller to read and close; without it, the body has
        at most MAX_ANSWER_BYTES. `any_status` lets a 5xx pass as an answer too.

        Raises SignInRequired; ApiUnavailable for no answer in time and for a 5xx; ApiMisbehaved for a redirect, for an
        answer that is too large, and for a 401 to a token that the API has only just handed out; ValueError for a call
        that cannot be spelled in HTTP.
        """
        self.called = True
        started_at = time.time()
        still_valid = False
        for _ in range(_MAX_CALLS):
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
            # A body of the browser's comes as fast as the browser sends it.
            seconds = conf.attempt_seconds if isinstance(data, _SENT_TWICE) else math.inf
            again = method in _SAFE_METHODS and isinstance(data, _SENT_TWICE)
            response = _send(request, stream=stream, again=again, ends_at=time.monotonic() + seconds)
            if response.status_code != 401:
                return _usable(response, any_status=any_status)
            response.close()
            just_minted = self._browser.minted and tokens.received_at >= started_at
            if still_valid or (just_minted and _lives(tokens)):
                raise ApiMisbehaved("the API refuses an access token that it has just handed out or called valid")
            still_valid = self._browser.rotate(Trigger.UNAUTHORIZED) is RotationOutcome.STILL_VALID
            if not isinstance(data, _SENT_TWICE):
                raise BodyConsumed("the access token had expired, and this body cannot be sent twice", retry_after=1)
        raise ApiUnavailable("the API's access tokens expire faster than it answers")


def _lives(tokens: TokenPair) -> bool:
    """Whether a 401 for this token is no expiry. JWTs count in whole seconds: a life may be one second shorter."""
    left = tokens.access_seconds_left()
    return left is None or left > 1.0


def _send(request: requests.PreparedRequest, *, stream: bool, again: bool, ends_at: float) -> requests.Response:
    """Send over the pool, and have the answer by `ends_at` (time.monotonic()), or where it is streamed its headers.

    `again` says that a request whose connection broke may be repeated once.
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
        # Too large to be read whole; an answer it was.
        time_call(response.status_code, time.monotonic() - started)
        add_call(request.method, request.path_url, status=response.status_code, since=started)
        raise
    except requests.RequestException as error:
        time_call(None, time.monotonic() - started)
        add_call(request.method, request.path_url, status=None, since=started)
        # A body that stalls comes as a ConnectionError.
        stalled = bool(error.args) and isinstance(error.args[0], ReadTimeoutError)
        if isinstance(error, requests.Timeout) or stalled or deadline.has_passed():
            raise ApiUnavailable("no answer in time") from error
        if again:
            # Typically a kept-alive connection that the API closed at the moment of sending.
            return _send(request, stream=stream, again=False, ends_at=ends_at)
        raise ApiUnavailable(f"no answer: {type(error).__name__}") from error
    time_call(response.status_code, time.monotonic() - started)
    add_call(request.method, request.path_url, status=response.status_code, since=started)
    if deadline.has_passed() and not stream:
        # Without a Content-Length, a body that the deadline cut short looks whole.
        raise ApiUnavailable("no answer in time")
    return response


def _usable(response: requests.Response, *, any_status: bool) -> requests.Response:
    status = response.status_code
    # What is no status of HTTP counts as a 5xx (RFC 9110 section 15).
    if status >= 500 and not (any_status and status < 600):
        response.close()
        raise ApiUnavailable(f"status {status}", retry_after=parse_retry_after(response.headers.get("Retry-After")))
    if 300 <= status < 400 and response.is_redirect:
        # Followed, it could lead the user's token to another host.
        response.close()
        raise ApiMisbehaved(f"status {status}: a redirect")
    return response


class ApiRequest(HttpRequest):
    """A request that went through `accounts.middleware.ApiSessionMiddleware`."""

    api_session: BrowserSession
    api: ApiClient
    #: What happens while it is answered; None unless API_TRACE is on.
    trace: Trace | None
