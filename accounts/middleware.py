"""In from the browser: `request.api_session` and `request.api`. Out to the browser: the cookie, where it changed."""

import logging
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.cache import patch_cache_control, patch_vary_headers
from requests import RequestException

from accounts.api import ApiClient, ApiRequest
from accounts.browser.cookies import delete_cookies, drop_non_ascii_cookies, write_cookies
from accounts.browser.error_responses import api_error_response, sign_in_required_response
from accounts.browser.session import BrowserSession
from accounts.conf import conf
from accounts.exceptions import ApiError, ApiMisbehaved, SignInRequired
from accounts.history.traced_requests import finish_trace
from accounts.telemetry.request_id import start_request_ids
from accounts.telemetry.trace import begin_trace

logger = logging.getLogger(__name__)


class RequestIdMiddleware:
    """Gives every request an id, or takes its own, and tells it to whoever asked."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        request_ids = start_request_ids(
            request.META.get("HTTP_X_REQUEST_ID", ""), request.META.get("HTTP_TRACEPARENT", "")
        )
        response = self.get_response(request)
        response["X-Request-ID"] = request_ids.request_id
        return response


class ApiSessionMiddleware:
    """Opens the browser's session when a view looks at it, and hands it back, changed or ended, on any answer."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: ApiRequest) -> HttpResponseBase:
        cookies = request.META.get("HTTP_COOKIE", "")
        if not cookies.isascii():
            # Before anybody reads them.
            request.META["HTTP_COOKIE"] = drop_non_ascii_cookies(cookies)
        request.api_session = BrowserSession(request)
        request.api = ApiClient(request.api_session)
        request.trace = begin_trace(str(request.method), request.path) if conf.traces else None
        response = write_session(request, self.get_response(request))
        return response if request.trace is None else finish_trace(request.trace, response)

    def process_exception(self, request: ApiRequest, error: Exception) -> HttpResponse | None:
        """The answer to what a view could not deal with: nobody's fault but the session's or the API's."""
        if isinstance(error, SignInRequired):
            return sign_in_required_response(request, error)
        if isinstance(error, RequestException) and request.api.called:
            # A view read the API's answer, and it was not what it claimed to be: no JSON, or an error status.
            logger.error("%s %r: the API's answer", request.method, request.path, exc_info=error)
            return api_error_response(request, ApiMisbehaved(type(error).__name__))
        if isinstance(error, ApiError):
            logger.error("%s %r: %s: %s", request.method, request.path, type(error).__name__, error)
            return api_error_response(request, error)
        return None


def write_session(request: ApiRequest, response: HttpResponseBase) -> HttpResponseBase:
    """Write the session cookie where it changed, delete it where the session is over; else leave it alone.

    An answer that depends on the session is never stored by a shared cache, and one that carries it by none.
    """
    browser = request.api_session
    if not browser.looked_at:
        return response
    if response.get("Vary") != "Cookie":
        patch_vary_headers(response, ["Cookie"])
    # Nor can another origin's page include it, as a script or an image: a sibling's requests come with our cookies.
    response.setdefault("Cross-Origin-Resource-Policy", "same-origin")
    if response.has_header("Cache-Control"):
        patch_cache_control(response, private=True)
    else:
        # Nor by the browser, unless the view says so: after signing out, the way back would show the page again.
        response["Cache-Control"] = "private, no-store"
    if browser.ended is not None:
        if browser.ended.delete_cookie:
            delete_cookies(response, presented=request.COOKIES)
            response["Cache-Control"] = "private, no-store"
        return response
    session = browser.outgoing()
    if session is not None:
        write_cookies(response, session, presented=request.COOKIES, replacing=browser.replaced)
        response["Cache-Control"] = "private, no-store"
    return response
