"""For a load balancer: is this process alive, and can it serve?"""

import logging

from django.db import Error, connection
from django.http import HttpRequest, JsonResponse

logger = logging.getLogger(__name__)


def live(request: HttpRequest) -> JsonResponse:
    """200 as long as the process answers."""
    return JsonResponse({"status": "ok"}, headers={"Cache-Control": "no-store"})


def ready(request: HttpRequest) -> JsonResponse:
    """200 if the database answers, else 503. A sick API is no reason: all hosts would leave at once."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error as error:
        logger.error("not ready: the database does not answer: %s", type(error).__name__)
        connection.close()
        return JsonResponse({"status": "database unavailable"}, status=503, headers={"Cache-Control": "no-store"})
    return JsonResponse({"status": "ok"}, headers={"Cache-Control": "no-store"})
