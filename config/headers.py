"""Security headers also on responses that other middlewares make."""

from django.http import HttpRequest
from django.middleware.security import SecurityMiddleware


class SecurityHeadersMiddleware(SecurityMiddleware):
    """Django's headers and nothing else, outermost.

    Django's own middleware refuses a wrong Host, or redirects to HTTPS, before it has set a header, and a load balancer
    gets its answer even before that: this one stands outside of them all. The redirect is left to the one further in.
    """

    def process_request(self, request: HttpRequest) -> None:
        return None
