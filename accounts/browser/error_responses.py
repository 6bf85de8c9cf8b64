"""The responses to errors of the session and the API: as a page of the site, as JSON, or for htmx."""

from urllib.parse import urlencode, urlsplit

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from accounts.browser.event_source import is_event_source
from accounts.exceptions import ApiError, ApiUnavailable, SessionEnded, SignInRequired


def sign_in_required_response(request: HttpRequest, error: SignInRequired) -> HttpResponse:
    """Redirects to the sign-in page, which leads back to the present page. 401 for scripts and htmx."""
    login = sign_in_url(request, error)
    if _is_htmx(request):
        return HttpResponse(status=401, headers={"HX-Redirect": login})
    if is_script(request):
        detail = "Your session has ended." if isinstance(error, SessionEnded) else "You are not signed in."
        return JsonResponse({"detail": detail, "login": login}, status=401)
    return HttpResponseRedirect(login)


def sign_in_url(request: HttpRequest, error: SignInRequired) -> str:
    """The address of the sign-in page, with `next` for the way back."""
    query = {"next": _next_path(request)}
    if isinstance(error, SessionEnded):
        query["ended"] = "1"
    return f"{reverse('accounts:login')}?{urlencode(query)}"


def api_error_response(request: HttpRequest, error: ApiError) -> HttpResponse:
    """503 with Retry-After if the API is unavailable, 502 if its response cannot be used. The session stays."""
    status = 503 if isinstance(error, ApiUnavailable) else 502
    if is_script(request) or _is_htmx(request):
        detail = (
            "The service behind this site is not answering."
            if status == 503
            else "The service behind this site sent a response that this site cannot use."
        )
        response: HttpResponse = JsonResponse({"detail": detail}, status=status)
    else:
        response = render(request, f"{status}.html", status=status)
    if isinstance(error, ApiUnavailable):
        response["Retry-After"] = str(error.retry_after)
    return response


def bad_request_response(request: HttpRequest, detail: str) -> HttpResponse:
    """400, with `detail` as the explanation."""
    if is_script(request):
        return JsonResponse({"detail": detail}, status=400)
    return render(request, "400.html", {"detail": detail}, status=400)


def is_script(request: HttpRequest) -> bool:
    """Whether a script sent the request, so that it gets JSON and no page: by `Accept`, or by `Sec-Fetch-Mode`."""
    accepts_json = "application/json" in request.headers.get("Accept", "")
    return accepts_json or is_event_source(request) or request.headers.get("Sec-Fetch-Mode") == "cors"


def is_own_url(request: HttpRequest, url: str) -> bool:
    """Whether `url` leads to this site. The sign-in page must not redirect users elsewhere (an open redirect)."""
    return url_has_allowed_host_and_scheme(url, allowed_hosts={request.get_host()}, require_https=request.is_secure())


def next_page(request: HttpRequest, url: str) -> str:
    """The page after sign-in: `url` if it leads to this site, else the protected page."""
    return url if url and is_own_url(request, url) else reverse("protected:dashboard")


def _is_htmx(request: HttpRequest) -> bool:
    return request.headers.get("HX-Request") == "true"


def _next_path(request: HttpRequest) -> str:
    """The page to return to: this one, or for a form's POST and a script's call the page that sent it."""
    page = request.headers.get("HX-Current-URL") or request.headers.get("Referer", "")
    if request.method == "GET" and not is_script(request) and not _is_htmx(request):
        return request.get_full_path()
    if page and is_own_url(request, page):
        parts = urlsplit(page)
        return f"{parts.path}?{parts.query}" if parts.query else parts.path
    return "/"
