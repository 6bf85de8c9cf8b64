"""Health checks for a load balancer."""

import logging
from collections.abc import Callable

from django.db import Error, connection
from django.http import HttpRequest, HttpResponseBase, JsonResponse

from config.postgresql import PROBE

logger = logging.getLogger(__name__)

_HEADERS = {"Cache-Control": "no-store"}


class HealthMiddleware:
    """Responds to /health/live and /health/ready, with any Host header."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info == "/health/live":
            return live()
        if request.path_info == "/health/ready":
            return ready()
        return self.get_response(request)


def live() -> JsonResponse:
    """200 as long as the process responds."""
    return JsonResponse({"status": "ok"}, headers=_HEADERS)


def ready() -> JsonResponse:
    """200 if the database responds, else 503. A failing API does not count: it would take all hosts out at once.

    PostgreSQL has to accept a write: reading goes on while it is read-only, or waits for a dead standby.
    """
    try:
        with connection.cursor() as cursor:
            cursor.execute(PROBE if connection.vendor == "postgresql" else "SELECT 1")
    except Error as error:
        logger.error("not ready: the database does not answer: %s", type(error).__name__)
        connection.close()
        return JsonResponse({"status": "database unavailable"}, status=503, headers=_HEADERS)
    return JsonResponse({"status": "ok"}, headers=_HEADERS)
