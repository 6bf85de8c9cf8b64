"""Sets what a request has of its session, and writes the session cookie into the response if it changed."""

import logging
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from asgiref.sync import iscoroutinefunction
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.core.signals import got_request_exception
from django.dispatch import receiver
from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseBase, QueryDict, StreamingHttpResponse
from django.urls import reverse
from django.utils.cache import patch_cache_control, patch_vary_headers
from requests import PreparedRequest, RequestException

from accounts.api_client import ApiClient, ApiRequest
from accounts.browser.cookies import delete_cookies, drop_non_ascii_cookies, write_cookies
from accounts.browser.device import is_loaded_again, offer_binding
from accounts.browser.error_responses import (
    api_error_response,
    device_unproven_response,
    forbidden_response,
    is_htmx,
    is_script,
    sign_in_required_response,
)
from accounts.browser.event_source import is_event_source, is_over, reconnect_response, seconds_until_retry
from accounts.browser.id_token_hint import set_id_token_cookie
from accounts.browser.next_page import shorten, sign_in_address
from accounts.browser.session import BrowserSession
from accounts.browser.user import set_user, user_of
from accounts.conf import conf
from accounts.database_pool import give_back_connections, give_back_connections_while_streaming
from accounts.exceptions import ApiError, ApiMisbehaved, DeviceUnproven, NotSignedIn, SignInRequired
from accounts.history.traced_requests import finish_trace
from accounts.session.freshness import read_freshness
from accounts.telemetry.last_call import forget_last_call
from accounts.telemetry.request_id import start_request_ids
from accounts.telemetry.spans import end_page_span, start_page_span
from accounts.telemetry.trace import begin_trace, note_call, redact_path

logger = logging.getLogger(__name__)

#: Values of Cache-Control that most responses have, and that need no change.
_PRIVATE = ("private, no-store", "private, no-cache")


class RequestIdMiddleware:
    """Gives every request an id, or uses the id that it brings, and returns it in `X-Request-ID`. Begins its span."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        span = start_page_span(request, redact_path(request.path)) if conf.spans else None
        request_ids = start_request_ids(
            request.META.get("HTTP_X_REQUEST_ID", ""),
            request.META.get("HTTP_TRACEPARENT", ""),
            None if span is None else span.get_span_context(),
        )
        response = self.get_response(request)
        response["X-Request-ID"] = request_ids.request_id
        if span is not None:
            end_page_span(span, request, response)
        return response


class UserMiddleware(AuthenticationMiddleware):
    """Sets `request.user` and `request.auser()`: who is signed in at the API, and in the admin Django's own user."""

    def process_request(self, request: HttpRequest) -> None:
        set_user(request)


class ApiSessionMiddleware:
    """Opens the session cookie when a view accesses the session, and updates or deletes the cookie on any response."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: ApiRequest) -> HttpResponseBase:
        cookies = request.META.get("HTTP_COOKIE", "")
        if not cookies.isascii():
            # Before Django parses the cookies.
            request.META["HTTP_COOKIE"] = drop_non_ascii_cookies(cookies)
        request.api_session = BrowserSession(request)
        request.api = ApiClient(request.api_session)
        forget_last_call()
        request.trace = begin_trace(str(request.method), request.path) if conf.traces else None
        response = self.get_response(request)
        error = vars(request).pop("uncaught_error", None)
        if error is not None and response.status_code == 500:
            # A middleware further in has looked at the session or called the API, not a view.
            response = self.process_exception(request, error) or response
        response = write_session(request, correct_sign_in_redirect(request, response))
        give_back_connections()
        if isinstance(response, StreamingHttpResponse) and not isinstance(response, FileResponse):
            forget_parsed(request)
            give_back_connections_while_streaming(response)
        return response if request.trace is None else finish_trace(request.trace, response)

    def process_view(self, request: ApiRequest, view: Callable[..., Any], *_: object) -> HttpResponse | None:
        """The response to an EventSource that reconnects after a stream that is over for good: 204 stops it."""
        if iscoroutinefunction(view):
            request.api_session.load_before_async_view()
        return HttpResponse(status=204, headers={"Cache-Control": "private, no-store"}) if is_over(request) else None

    def process_exception(self, request: ApiRequest, error: Exception) -> HttpResponse | None:
        """The response to an uncaught error of the session or the API; None for any other error."""
        error = _out_of_group(error)
        if isinstance(error, DeviceUnproven):
            return device_unproven_response(request)
        if isinstance(error, SignInRequired):
            return sign_in_required_response(request, error)
        if isinstance(error, RequestException) and request.api.called:
            # The view could not use the API's response: it was not JSON, or raise_for_status() found an error.
            logger.error("%s %r: unusable response of the API", request.method, request.path, exc_info=error)
            if error.response is not None and isinstance(error.request, PreparedRequest):
                # raise_for_status() may be late: the view may have called again since.
                note_call(error.request.method, error.request.path_url, error.response.status_code)
            api_error: ApiError = ApiMisbehaved(type(error).__name__)
        elif isinstance(error, ApiError):
            logger.error("%s %r: %s: %s", request.method, request.path, type(error).__name__, error)
            api_error = error
        else:
            return None
        seconds = seconds_until_retry(error)
        if seconds is not None and is_event_source(request):
            return reconnect_response(seconds)
        # A check of the record may have failed. The error page must not run into it again.
        request.user = user_of(request.api_session.current_unchecked())
        return api_error_response(request, api_error)


@receiver(got_request_exception)
def note_uncaught_error(request: HttpRequest | None = None, **_: object) -> None:
    """Django makes a 500 of an error in a middleware before ApiSessionMiddleware sees it."""
    if request is not None:
        request.uncaught_error = sys.exc_info()[1]  # type: ignore[attr-defined]


def _out_of_group(error: Exception) -> Exception:
    """The error of a task, which asyncio.TaskGroup wraps; the group itself if it also has errors of another kind."""
    if not isinstance(error, ExceptionGroup):
        return error
    ours, others = error.split((SignInRequired, ApiError, RequestException))
    if ours is None or others is not None:
        return error
    first: Exception = ours.subgroup(SignInRequired) or ours
    while isinstance(first, ExceptionGroup):
        first = first.exceptions[0]
    return first


def correct_sign_in_redirect(request: ApiRequest, response: HttpResponseBase) -> HttpResponseBase:
    """Django's `login_required` and `user_passes_test` redirect to the sign-in page, too. Correct their redirects.

    A signed-in user whom the view does not accept gets the form for another account: the sign-in page would send them
    back to the view, and so on without end. A user whose session has ended is told so. A long `next` is shortened, so
    that servers accept the address. A script gets no redirect to a page, but a 401, or a 403 for a signed-in user.
    """
    if not 300 <= response.status_code < 400:
        return response
    address, _, query_string = response.get("Location", "").partition("?")
    own = f"{request.scheme}://{request.get_host()}"
    # Without the slash at the end too, which Django adds.
    if address.removeprefix(own).rstrip("/") != reverse("accounts:login").rstrip("/"):
        return response
    query = QueryDict(query_string)
    if read_freshness(query):
        # Our own: the sign-in page shows the form to a signed-in user, too.
        return response
    next_url = query.get("next", "")
    page = unquote(next_url.removeprefix(own).partition("?")[0])
    leads_back = page == request.path
    refused = leads_back and request.api_session.is_signed_in()
    if leads_back and request.api_session.is_unproven:
        return device_unproven_response(request)
    over = request.api_session.ended if leads_back else None
    if leads_back and not refused and (is_script(request) or is_htmx(request)):
        unauthorized = sign_in_required_response(request, over or NotSignedIn())
        unauthorized.cookies = response.cookies
        return unauthorized
    if refused and (is_script(request) or is_htmx(request)):
        forbidden = forbidden_response(request)
        forbidden.cookies = response.cookies
        return forbidden
    if refused or over or shorten(next_url) != next_url:
        ended = query.get("ended") or (over.reason if over else "")
        response["Location"] = sign_in_address(next_url, switch=refused or "switch" in query, ended=ended)
    return response


def forget_parsed(request: HttpRequest) -> None:
    """Forget what Django can parse again: thousands of streams may be open, and each keeps its request."""
    for name in ("COOKIES", "headers"):
        vars(request).pop(name, None)
    if request.resolver_match is not None:
        request.resolver_match.tried = None


def write_session(request: ApiRequest, response: HttpResponseBase) -> HttpResponseBase:
    """Write the session cookie if the session changed, delete it if the session is over; otherwise leave it unchanged.

    No shared cache may store a response that depends on the session. No cache may store one that sets the cookie.
    """
    browser = request.api_session
    if not browser.accessed:
        return response
    vary = response.get("Vary")
    if vary is None:
        response["Vary"] = "Cookie"
    elif vary != "Cookie":
        patch_vary_headers(response, ["Cookie"])
    # No page of another origin can include it, as a script or an image: requests from a sibling subdomain carry our
    # SameSite cookies.
    response.setdefault("Cross-Origin-Resource-Policy", "same-origin")
    cache_control = response.get("Cache-Control")
    if cache_control is None:
        # By default the browser does not store it either: after sign-out, the back button would show the page again.
        response["Cache-Control"] = "private, no-store"
    elif cache_control not in _PRIVATE:
        patch_cache_control(response, private=True)
    if browser.ended is not None:
        if browser.ended.delete_cookie:
            delete_cookies(response, presented=request.COOKIES)
            response["Cache-Control"] = "private, no-store"
        return response
    session = browser.pop_session_to_write()
    if session is not None:
        write_cookies(response, session, presented=request.COOKIES, replacing=browser.replaced)
        if browser.id_token:
            set_id_token_cookie(response, browser.id_token)
        response["Cache-Control"] = "private, no-store"
    is_due = session is not None and (browser.signed_in or browser.has_rotated)
    offer_binding(request, response, session or browser.current_unchecked(), is_due=is_due)
    if browser.is_unproven and response.status_code == 200 and is_loaded_again(request):
        # The page shows no signed-in user. An error page is not loaded again: its message would be gone.
        response["Refresh"], response["Cache-Control"] = "0", "private, no-store"
    return response
