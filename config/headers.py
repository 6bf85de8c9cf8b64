"""Security headers also on responses that other middlewares make."""

from collections.abc import Callable

from csp.constants import HEADER
from csp.middleware import CheckableLazyObject, CSPMiddleware
from csp.utils import build_policy
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.security import SecurityMiddleware


class SecurityHeadersMiddleware(SecurityMiddleware):
    """Sets Django's security headers on every response. It stands first in MIDDLEWARE.

    Django's own middleware sends a redirect to HTTPS, or a 400 for a wrong Host, before it sets a header, and the
    health checks respond before it. The redirect stays with Django's own middleware.
    """

    def process_request(self, request: HttpRequest) -> None:
        return None

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        # Django's own middleware, further in, has set them.
        if "Cross-Origin-Opener-Policy" in response.headers:
            return response
        return super().process_response(request, response)


class ContentSecurityPolicyMiddleware(CSPMiddleware):
    """django-csp's middleware, which would build the same header anew for each response.

    It still does so for a response with a nonce or a policy of its own, and where the settings ask for more than one
    policy for all pages.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        super().__init__(get_response)
        self._policy = build_policy()
        self._is_same_for_all = (
            not settings.DEBUG
            and not settings.CONTENT_SECURITY_POLICY.get("EXCLUDE_URL_PREFIXES")
            and not getattr(settings, "CONTENT_SECURITY_POLICY_REPORT_ONLY", None)
        )

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        # django-csp's decorators and nonces leave an attribute.
        has_its_own = " _csp_" in " ".join(("", *vars(response), *vars(request)))
        if not self._is_same_for_all or has_its_own:
            return super().process_response(request, response)
        response.headers.setdefault(HEADER, self._policy)
        # As in django-csp: a nonce that is asked for from now on would be in no header. One for each request, because
        # it raises even if it is asked for its type: gevent and memory profilers ask all objects of the process.
        request.csp_nonce = CheckableLazyObject(self._csp_nonce_post_response)  # type: ignore[attr-defined]
        return response
