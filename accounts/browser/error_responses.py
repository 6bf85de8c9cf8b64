"""What the browser is told when a view cannot answer: in the site's look, as JSON, or as htmx wants it."""

from urllib.parse import urlencode, urlsplit

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from accounts.exceptions import ApiError, ApiUnavailable, SessionEnded, SignInRequired


def sign_in_required_response(request: HttpRequest, error: SignInRequired) -> HttpResponse:
    """To the sign-in page, and from there back to where the visitor is now."""
    login = sign_in_url(request, error)
    if _is_htmx(request):
        return HttpResponse(status=401, headers={"HX-Redirect": login})
    if is_script(request):
        detail = "Your session has ended." if isinstance(error, SessionEnded) else "You are not signed in."
        return JsonResponse({"detail": detail, "login": login}, status=401)
    return HttpResponseRedirect(login)


def sign_in_url(request: HttpRequest, error: SignInRequired) -> str:
    """The sign-in page, with the way back."""
    query = {"next": _return_path(request)}
    if isinstance(error, SessionEnded):
        query["ended"] = "1"
    return f"{reverse('accounts:login')}?{urlencode(query)}"


def api_error_response(request: HttpRequest, error: ApiError) -> HttpResponse:
    """503 with Retry-After while the API is away, 502 for an answer that cannot be used. The session stays."""
    status = 503 if isinstance(error, ApiUnavailable) else 502
    if is_script(request) or _is_htmx(request):
        detail = (
            "The service behind this site is not answering."
            if status == 503
            else "The service behind this site gave an answer that cannot be used."
        )
        response: HttpResponse = JsonResponse({"detail": detail}, status=status)
    else:
        response = render(request, f"{status}.html", status=status)
    if isinstance(error, ApiUnavailable):
        response["Retry-After"] = str(error.retry_after)
    return response


def bad_request_response(request: HttpRequest, detail: str) -> HttpResponse:
    """400, and what to do about it."""
    if is_script(request):
        return JsonResponse({"detail": detail}, status=400)
    return render(request, "400.html", {"detail": detail}, status=400)


def is_script(request: HttpRequest) -> bool:
    """Whether a script asks, which can do nothing with a page: by what it accepts, or by how the browser fetches."""
    accepts_json = "application/json" in request.headers.get("Accept", "")
    return accepts_json or request.headers.get("Sec-Fetch-Mode") == "cors"


def is_own_url(request: HttpRequest, url: str) -> bool:
    """Whether `url` leads to a page of this site: nobody uses our sign-in page to send people elsewhere."""
    return url_has_allowed_host_and_scheme(url, allowed_hosts={request.get_host()}, require_https=request.is_secure())


def next_page(request: HttpRequest, url: str) -> str:
    """Where a visitor goes after signing in: to `url`, if it is one of ours."""
    return url if url and is_own_url(request, url) else reverse("protected:dashboard")


def _is_htmx(request: HttpRequest) -> bool:
    return request.headers.get("HX-Request") == "true"


def _return_path(request: HttpRequest) -> str:
    """This page; for a form's POST or a script's call, which nobody can return to, the page that it came from."""
    page = request.headers.get("HX-Current-URL") or request.headers.get("Referer", "")
    if request.method == "GET" and not is_script(request) and not _is_htmx(request):
        return request.get_full_path()
    if page and is_own_url(request, page):
        parts = urlsplit(page)
        return f"{parts.path}?{parts.query}" if parts.query else parts.path
    return "/"
