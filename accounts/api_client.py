"""`request.api`: calls the API with the signed-in user's access token, and refreshes the token when it has expired."""

import logging
import math
import time
from functools import partialmethod
from typing import Any

import requests
from asgiref.sync import sync_to_async
from django.http import HttpRequest
from django.utils.asyncio import async_unsafe
from urllib3.exceptions import ReadTimeoutError

from accounts.browser.session import BrowserSession
from accounts.conf import conf
from accounts.exceptions import ApiMisbehaved, ApiUnavailable, BodyConsumed
from accounts.models import Trigger
from accounts.rotation.rotate import RotationOutcome
from accounts.session.api_session import ApiSession
from accounts.session.freshness import FreshSignInRequired, read_challenge
from accounts.session.tokens import TokenPair
from accounts.telemetry.api_call import ReportedCall
from accounts.telemetry.metrics import time_call
from accounts.telemetry.trace import Trace
from accounts.upstream import dpop
from accounts.upstream.connections import SAFE_METHODS
from accounts.upstream.deadline import Deadline
from accounts.upstream.failure_reasons import describe_failure
from accounts.upstream.retry_after import parse_retry_after
from accounts.upstream.transport import pooled_adapter, prepare

logger = logging.getLogger(__name__)

_MAX_ATTEMPTS = 5
_REPEATABLE_BODIES = (type(None), bytes, str, dict, list, tuple)
#: After a 401 that a rotation did not change, the next 401 starts no other rotation for this long. An address that
#: always answers 401 then costs four rotations a minute at most. If the API revokes the tokens in this time, its 401 is
#: the response until the pause is over. Then it refuses the refresh, and the session ends.
_REJECTED_SECONDS = 15.0
#: A token may expire this much earlier than its lifetime says: its response took time, and JWTs count whole seconds.
_EXPIRY_MARGIN_SECONDS = 5.0


class ApiClient:
    """Calls the API for one browser. A path starts with a slash, and is relative to API_BASE_URL.

    `stream` leaves the body for the caller to read and close; without it, a body has at most MAX_ANSWER_BYTES.
    `any_status` returns a 5xx response too.

    In an `async def` view, await `aget`, `apost` and so on. They make the same calls, one after the other, in the
    thread of the request.

    Every call raises SignInRequired; ApiUnavailable for a timeout, a broken connection or a 5xx; ApiMisbehaved for a
    redirect and for a response that is too large; ValueError for arguments that cannot be sent over HTTP.
    """

    def __init__(self, browser: BrowserSession) -> None:
        self._browser = browser
        #: Whether this request has called the API.
        self.called = False

    @async_unsafe(
        "request.api was called in an async def view: write `await request.api.aget(...)`, `apost` and so on."
    )
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
        acted on the first one. A 401 that a new token cannot change is returned: the user is still signed in. If a
        401 wants a nonce in the proof of a bound token (RFC 9449), the call is repeated with it and the same token.

        Only forms, bytes, text and JSON can be sent again. After any other body, a 401 raises BodyConsumed, and the
        next call has a new token. If a 401 asks for a recent sign-in or another kind (RFC 9470), raises
        FreshSignInRequired.
        """
        self.called = True
        started_at = time.time()
        rotated: RotationOutcome | None = None
        nonce = ""
        repeatable = isinstance(data, _REPEATABLE_BODIES)
        for _ in range(_MAX_ATTEMPTS):
            session = self._fresh_session()
            tokens = session.tokens
            request = prepare(
                method,
                path,
                headers={**(headers or {}), "Authorization": tokens.authorization},
                address=self._browser.address,
                params=params,
                data=data,
                json=json,
            )
            if tokens.dpop_key and not repeatable:
                self._renew_nonce(path, tokens)
            # An upload has no deadline: its body comes only as fast as the browser sends it.
            ends_at = time.monotonic() + (conf.attempt_seconds if repeatable else math.inf)
            retry = repeatable and method in SAFE_METHODS
            response = _send(request, tokens, nonce, stream=stream, retry=retry, ends_at=ends_at)
            if response.status_code != 401:
                return _check_status(response, any_status=any_status)
            if nonce := _wanted_nonce(response, tokens, nonce, repeatable=repeatable):
                continue
            _check_sign_in(response, session)
            if self._is_final(response, tokens, rotated, started_at):
                return response
            response.close()
            rotated = self._browser.rotate(Trigger.UNAUTHORIZED)
            if not repeatable:
                if rotated is not RotationOutcome.ADOPTED:
                    # A 401 to the same body, sent again, is final.
                    self._browser.note_rejection()
                raise BodyConsumed("the access token had expired, and this body cannot be sent twice", retry_after=1)
        raise ApiUnavailable("the API's access tokens expire faster than it responds")

    get = partialmethod(request, "GET")
    post = partialmethod(request, "POST")
    put = partialmethod(request, "PUT")
    patch = partialmethod(request, "PATCH")
    delete = partialmethod(request, "DELETE")

    async def arequest(self, method: str, path: str, **options: Any) -> requests.Response:
        """`request`, for an `async def` view. If the view is cancelled, a call that has begun goes on to its end.

        So the API's response to a refresh is stored, also if the browser has closed the connection.
        """
        return await sync_to_async(self.request)(method, path, **options)

    aget = partialmethod(arequest, "GET")
    apost = partialmethod(arequest, "POST")
    aput = partialmethod(arequest, "PUT")
    apatch = partialmethod(arequest, "PATCH")
    adelete = partialmethod(arequest, "DELETE")

    def _fresh_session(self) -> ApiSession:
        """The session, with an access token that is still valid. Raises SignInRequired or ApiUnavailable."""
        try:
            self._browser.ensure_fresh(conf.refresh_ahead, trigger=Trigger.EARLY)
            return self._browser.require()
        except ApiUnavailable as error:
            error.may_have_acted = False
            raise

    def _renew_nonce(self, path: str, tokens: TokenPair) -> None:
        """Before a body that cannot be sent again: call the API without a body if it may want another nonce."""
        headers = {"Authorization": tokens.authorization}
        request = prepare("HEAD", path.partition("?")[0], headers=headers, address=self._browser.address)
        if not dpop.may_want_nonce(request):
            return
        try:
            ends_at = time.monotonic() + conf.attempt_seconds
            response = _send(request, tokens, "", stream=False, retry=True, ends_at=ends_at)
        except ApiUnavailable as error:
            error.may_have_acted = False
            raise
        if nonce := dpop.read_nonce(response.headers):
            dpop.keep_nonce(request, nonce)

    def _is_final(
        self, response: requests.Response, tokens: TokenPair, rotated: RotationOutcome | None, started_at: float
    ) -> bool:
        """Whether another token cannot change a 401: it has another reason than the token, such as a permission.

        `rotated` is the outcome of this call's rotation, which began after `started_at` (time.time()).
        """
        if tokens.dpop_key and dpop.proof_error(response.headers) == dpop.PROOF_REFUSED:
            logger.error("the API refuses the DPoP proof: do its clock, and its own address, agree with this site's?")
            return True
        if rotated is not RotationOutcome.STILL_VALID:
            if _may_have_expired(tokens):
                return False
            # The time may be ahead: another host's clock set it.
            if tokens.rejected_at is not None and abs(started_at - tokens.rejected_at) < _REJECTED_SECONDS:
                return True
            if rotated is not RotationOutcome.MINTED and not started_at <= tokens.received_at <= time.time():
                return False
        self._browser.note_rejection()
        return True


def _check_sign_in(response: requests.Response, session: ApiSession) -> None:
    """Raises FreshSignInRequired if a 401 asks for a recent sign-in or another kind (RFC 9470)."""
    freshness = read_challenge(response.headers.get("WWW-Authenticate", ""))
    if freshness is None:
        return
    # A refresh does not change when and how the user signed in.
    response.close()
    if again := freshness.is_met(session):
        logger.warning("the API asks for a sign-in that this session has: %s", freshness)
    raise FreshSignInRequired(freshness, again=again)


def _may_have_expired(tokens: TokenPair) -> bool:
    left, life = tokens.access_seconds_left(), tokens.access_lifetime()
    return left is not None and life is not None and left <= max(1.0, min(_EXPIRY_MARGIN_SECONDS, life / 2))


def _wanted_nonce(response: requests.Response, tokens: TokenPair, used: str, *, repeatable: bool) -> str:
    """The nonce with which to repeat a call, if its 401 asks for one, or "". The API has said nothing about the tokens.

    `used` is the nonce that a 401 has asked for before this call; "" if none has. Raises BodyConsumed for a body that
    cannot be repeated, and ApiUnavailable if the API asks again.
    """
    if not tokens.dpop_key or dpop.proof_error(response.headers) != dpop.WANTS_NONCE:
        return ""
    response.close()
    nonce = dpop.read_nonce(response.headers)
    if not repeatable:
        dpop.keep_nonce(response.request, nonce)
        raise BodyConsumed("the API wants another DPoP nonce, and this body cannot be sent twice", retry_after=1)
    if used or not nonce:
        raise ApiUnavailable("the API does not accept its own DPoP nonce", may_have_acted=False)
    return nonce


def _send(
    request: requests.PreparedRequest,
    tokens: TokenPair,
    nonce: str,
    *,
    stream: bool,
    retry: bool,
    ends_at: float,
    repeated: bool = False,
) -> requests.Response:
    """Send over a pooled connection, and read the response by `ends_at` (time.monotonic()); with `stream` its headers.

    For bound tokens, it sends a proof with `nonce` or the newest one. `retry` allows one repetition after a broken
    connection, over a new one. Raises ApiUnavailable or ApiMisbehaved.
    """
    if tokens.dpop_key:
        dpop.add_proof(request, tokens.dpop_key, nonce=nonce)
    deadline = Deadline(ends_at, new_connection=repeated)
    try:
        with deadline, ReportedCall(request, time_call) as call:
            response = pooled_adapter().send(
                request, stream=stream, timeout=(conf.connect_timeout, conf.read_timeout), proxies={}
            )
            call.status = response.status_code
            if tokens.dpop_key:
                dpop.remember_nonce(request, response.headers, used=nonce)
            if not stream:
                # Reads the body, which gives the connection back to the pool.
                _ = response.content
    except requests.RequestException as error:
        may_have_acted = deadline.connected or not deadline.connecting
        # Requests raises a ConnectionError when a body stalls.
        stalled = bool(error.args) and isinstance(error.args[0], ReadTimeoutError)
        if isinstance(error, requests.Timeout) or stalled or deadline.has_passed():
            raise ApiUnavailable("no response in time", may_have_acted=may_have_acted) from error
        if retry:
            # Usually the API closed a kept-alive connection at the moment of sending.
            return _send(request, tokens, nonce, stream=stream, retry=False, ends_at=ends_at, repeated=True)
        why = f"no response: {describe_failure(error)}"
        raise ApiUnavailable(why, may_have_acted=may_have_acted) from error
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
    #: An `accounts.browser.user.ApiUser` or Django's AnonymousUser; in the admin Django's own user.
    user: Any
    #: The request's trace; None unless API_TRACE is on.
    trace: Trace | None
