"""Security headers also on responses that other middlewares make."""

from django.http import HttpRequest
from django.middleware.security import SecurityMiddleware


class SecurityHeadersMiddleware(SecurityMiddleware):
    """Sets Django's security headers on every response. It stands first in MIDDLEWARE.

    Django's own middleware sends a redirect to HTTPS, or a 400 for a wrong Host, before it sets a header, and the
    health checks respond before it. The redirect stays with Django's own middleware.
    """

    def process_request(self, request: HttpRequest) -> None:
        return None
