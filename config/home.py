"""The home page, and the page for a permission that the user does not have."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.api_client import ApiRequest
from accounts.browser.error_responses import account_context, switch_url
from accounts.exceptions import ApiUnavailable


@require_safe
def home(request: ApiRequest) -> HttpResponse:
    """The home page, with the ways out of the session. It needs neither the API nor the database."""
    try:
        session = request.api_session.current
    except ApiUnavailable:
        session = request.api_session.current_unchecked()
    return render(request, "home.html", account_context(session), using="pages")


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403, with the way to another account and back to this page."""
    return render(request, "403.html", {"switch_url": switch_url(request)}, status=403, using="pages")
