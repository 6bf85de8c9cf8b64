"""The home page, and the responses to what is not allowed: a page without the permission for it, a forged request."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.api_client import ApiRequest
from accounts.browser.error_responses import account_context, csrf_detail, is_script, switch_url
from accounts.exceptions import ApiUnavailable


@require_safe
def home(request: ApiRequest) -> HttpResponse:
    """The home page, with the ways out of the session. It needs neither the API nor the database."""
    try:
        session = request.api_session.current
    except ApiUnavailable:
        session = request.api_session.current_unchecked()
    return render(request, "home.html", account_context(session))


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403, with the way to another account and back to this page."""
    return render(request, "403.html", {"switch_url": switch_url(request)}, status=403)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403 for a request without a valid CSRF token or origin. A script is told which of them is wrong."""
    if is_script(request):
        return JsonResponse({"detail": csrf_detail(reason)}, status=403)
    return render(request, "403_csrf.html", status=403)
