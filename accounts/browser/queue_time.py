"""When a request arrived: at the proxy in front, which reads the whole body before it passes the request on."""

import math
import time

from django.http import HttpRequest

from accounts.conf import conf

#: An attacker who could forge the header would get this much more leeway for an older cookie.
MAX_SECONDS = 60.0
#: A request that takes longer than MAX_SECONDS may fail, but is not taken for a copied cookie. Nothing takes longer
#: than this: 25 MB at 7 KB a second.
LONGEST_SECONDS = 3600.0


def queue_seconds(request: HttpRequest) -> float:
    """How long a request was in the proxy and in the server's queue. Call it as soon as a thread has the request.

    The proxy sends `X-Request-Waited`: the seconds for which it read the request, and the Unix time at which it passed
    the request on, as in "40.218 1767225600.123". The header counts only behind a trusted proxy (TRUSTED_PROXY_COUNT),
    and up to MAX_SECONDS. Returns 0 without it.
    """
    return min(_seconds_by_header(request), MAX_SECONDS)


def seconds_of_slow_request(request: HttpRequest) -> float | None:
    """How long ago a request began that took longer than MAX_SECONDS; None if it did not."""
    seconds = _seconds_by_header(request)
    return seconds if MAX_SECONDS < seconds <= LONGEST_SECONDS else None


def _seconds_by_header(request: HttpRequest) -> float:
    header = request.META.get("HTTP_X_REQUEST_WAITED")
    if header is None or not conf.trusted_proxy_count:
        return 0.0
    try:
        read_for, passed_on_at = map(float, header.split())
    except ValueError:
        return 0.0
    # The clock of a proxy on another host may differ.
    waited = max(read_for, 0.0) + max(time.time() - passed_on_at, 0.0)
    return waited if math.isfinite(waited) else 0.0
