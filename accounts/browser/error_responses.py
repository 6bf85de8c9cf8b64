"""The responses to errors of the session and the API: as a page of the site, as JSON, or for htmx."""

from typing import Any
from urllib.parse import urlsplit

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.middleware.csrf import REASON_NO_REFERER
from django.shortcuts import render
from django.utils.http import escape_leading_slashes

from accounts.browser.device import is_loaded_again
from accounts.browser.event_source import is_event_source, reconnect_response
from accounts.browser.next_page import address_for, is_own_url, shorten, sign_in_address, why_ended, why_not_fresh
from accounts.conf import conf
from accounts.exceptions import ApiError, ApiUnavailable, SessionEnded, SignInRequired
from accounts.session.freshness import FreshSignInRequired
from accounts.telemetry.last_call import last_call

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS", "TRACE")
_DETAILS = {
    502: "The service behind this site sent a response that this site cannot use.",
    503: "The service behind this site is not answering.",
}
_OUTCOME_UNKNOWN = "It is not known whether it acted on this request. Check that before you send the request again."


def sign_in_required_response(request: HttpRequest, error: SignInRequired) -> HttpResponse:
    """Redirects to the sign-in page, which leads back to the present page. 401 for scripts and htmx."""
    login = sign_in_url(request, error)
    if is_htmx(request):
        return HttpResponse(status=401, headers={"HX-Redirect": login})
    if is_script(request):
        return JsonResponse({"detail": why_required(error), "login": login}, status=401)
    return HttpResponseRedirect(login)


def why_required(error: SignInRequired) -> str:
    """What a user is told: a sentence."""
    if isinstance(error, SessionEnded):
        return why_ended(error.reason)
    if isinstance(error, FreshSignInRequired):
        return why_ended(error.reason) if error.reason else why_not_fresh(error.freshness)
    return "You are not signed in."


def device_unproven_response(request: HttpRequest) -> HttpResponse:
    """403 for a request without the proof of the device that its session is bound to; 401 for scripts and htmx.

    The browser may get the proof in a moment, so an EventSource tries again, and htmx loads the page again.
    """
    if is_event_source(request):
        return reconnect_response(None)
    if is_htmx(request):
        return HttpResponse(status=401, headers={"HX-Refresh": "true"})
    login = sign_in_address(next_path(request))
    if is_script(request):
        detail = "Your session is bound to another device, or this browser could not prove that it has the key."
        return JsonResponse({"detail": detail, "login": login}, status=401)
    is_repeated = is_loaded_again(request)
    context = {
        "is_safe": request.method in _SAFE_METHODS,
        "page": next_path(request),
        "login": login,
        "is_repeated": is_repeated,
    }
    response = render(request, "403_device.html", context, status=403)
    if is_repeated:
        response["Refresh"] = "0"
    return response


def forbidden_response(request: HttpRequest) -> HttpResponse:
    """403 for scripts and htmx, if a view refuses the user who is signed in; with the form for another account."""
    login = switch_url(request)
    if is_htmx(request):
        return HttpResponse(status=403, headers={"HX-Redirect": login})
    return JsonResponse({"detail": "Your account does not have the permission for this.", "login": login}, status=403)


def sign_in_url(request: HttpRequest, error: SignInRequired) -> str:
    """The address of the sign-in page, with `next` for the way back."""
    return address_for(error, next_path(request))


def switch_url(request: HttpRequest) -> str:
    """The address of the sign-in form for another account, with `next` for the way back."""
    return sign_in_address(next_path(request), switch=True)


def api_error_response(request: HttpRequest, error: ApiError) -> HttpResponse:
    """503 with Retry-After if the API is unavailable, 502 if its response cannot be used. The session stays.

    The page offers the ways out of the session, which may work no more, or belong to the wrong account.
    """
    status = 503 if isinstance(error, ApiUnavailable) else 502
    is_safe = request.method in _SAFE_METHODS
    if is_script(request) or is_htmx(request):
        detail = _DETAILS[status] if is_safe else f"{_DETAILS[status]} {_OUTCOME_UNKNOWN}"
        response: HttpResponse = JsonResponse({"detail": detail}, status=status)
    else:
        context = {"is_safe": is_safe, "page": next_path(request), **developer_context()}
        response = render(request, f"{status}.html", context, status=status)
    if isinstance(error, ApiUnavailable):
        response["Retry-After"] = str(error.retry_after)
    return response


def developer_context() -> dict[str, Any]:
    """What `accounts/failed_call.html` shows with DEBUG, and nothing without."""
    call = last_call()
    return {} if call is None else {"failed_call": call, "api_base_url": conf.base_url}


def bad_request_response(request: HttpRequest, detail: str) -> HttpResponse:
    """400, with `detail` as the explanation."""
    if is_script(request):
        return JsonResponse({"detail": detail}, status=400)
    return render(request, "400.html", {"detail": detail}, status=400)


def csrf_detail(reason: str) -> str:
    """What a script is told about a request that Django's CSRF check refused for `reason`."""
    if reason.startswith("Origin "):
        return "The Origin of the request is not this site's, and CSRF_TRUSTED_ORIGINS does not list it."
    if reason == REASON_NO_REFERER:
        return "The request has no Origin and no Referer. Send one of them."
    if reason.startswith("Referer "):
        return (
            "The Referer of the request is not a page of this site, and CSRF_TRUSTED_ORIGINS does not list its origin."
        )
    return "The CSRF token is missing or wrong: send the token of the page, or of /accounts/session/, as X-CSRFToken."


def is_script(request: HttpRequest) -> bool:
    """Whether a script sent the request, so that it gets JSON and no page: by `Accept`, or by `Sec-Fetch-Mode`."""
    accepts_json = "application/json" in request.META.get("HTTP_ACCEPT", "")
    return accepts_json or is_event_source(request) or request.META.get("HTTP_SEC_FETCH_MODE") == "cors"


def is_htmx(request: HttpRequest) -> bool:
    """Whether htmx sent the request: a script that wants pages, and gets its redirects as a header."""
    return request.META.get("HTTP_HX_REQUEST") == "true"


def next_path(request: HttpRequest) -> str:
    """The page to return to: this one, or for a form's POST and a script's call the page that sent it."""
    page = request.META.get("HTTP_HX_CURRENT_URL") or request.META.get("HTTP_REFERER", "")
    if request.method in ("GET", "HEAD") and not is_script(request) and not is_htmx(request):
        return request.get_full_path()
    page = shorten(page)
    if page and is_own_url(request, page):
        parts = urlsplit(page)
        # A path with two slashes first would lead to another host.
        return escape_leading_slashes(f"{parts.path}?{parts.query}" if parts.query else parts.path)
    return "/"
