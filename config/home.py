"""The home page, and the error pages that Django's own views cannot make as well."""

import logging

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.views.decorators.http import require_safe

from accounts.api_client import ApiRequest
from accounts.browser.error_responses import csrf_detail, is_script
from accounts.telemetry.request_id import current_request_ids

logger = logging.getLogger(__name__)


@require_safe
def home(request: ApiRequest) -> HttpResponse:
    """The home page. It needs neither the API nor the database."""
    return render(request, "home.html")


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403, with the way to another account and back to this page. A script gets JSON."""
    if is_script(request):
        return JsonResponse({"detail": "You do not have the permission for this."}, status=403)
    return render(request, "403.html", status=403)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403 for a request without a valid CSRF token or origin. A script is told which of them is wrong."""
    if is_script(request):
        return JsonResponse({"detail": csrf_detail(reason)}, status=403)
    return render(request, "403_csrf.html", status=403)


def server_error(request: HttpRequest) -> HttpResponse:
    """500, with the request id to quote. It reads neither the session nor the database, which may be what failed."""
    context = {"request_id": current_request_ids().request_id, "site_name": settings.SITE_NAME}
    try:
        return HttpResponse(render_to_string("500.html", context), status=500)
    except Exception:
        logger.exception("500.html cannot be rendered")
        text = f"500: Something went wrong on our side. Request id: {context['request_id']}"
        return HttpResponse(text, status=500, content_type="text/plain; charset=utf-8")
