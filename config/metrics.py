"""/metrics for Prometheus: for requests with the token, or from an allowed network."""

import hmac
import os
from collections.abc import Callable
from ipaddress import ip_address, ip_network

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotFound
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from accounts.browser.client_address import client_address
from accounts.telemetry.metrics import STARTED
from accounts.telemetry.metrics_folder import is_usable


class MetricsMiddleware:
    """Responds to /metrics with any Host header; with 404, as if it did not exist, if the request is not allowed."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return metrics(request) if request.path_info == "/metrics" else self.get_response(request)


def metrics(request: HttpRequest) -> HttpResponse:
    """The sums over all worker processes of this host."""
    if not (_knows_token(request) or _is_allowed(request)):
        return HttpResponseNotFound("Not found.\n", content_type="text/plain")
    registry = REGISTRY
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder:
        if not is_usable(folder):
            detail = "The folder of the metrics is missing. Reload the workers.\n"
            return HttpResponse(detail, status=503, content_type="text/plain")
        # After a fork and a new folder, the first count makes this worker's file, with all series.
        STARTED.inc(0)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # prometheus-client has no type here
    return HttpResponse(
        generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST, "Cache-Control": "no-store"}
    )


def _knows_token(request: HttpRequest) -> bool:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    known = settings.METRICS_TOKEN
    return bool(known) and scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), known.encode())


def _is_allowed(request: HttpRequest) -> bool:
    address = client_address(request)
    return bool(address) and any(
        ip_address(address) in ip_network(network, strict=False) for network in settings.METRICS_ALLOW
    )
