"""When a request arrived: at the proxy in front, which reads the whole body before it passes the request on."""

import math
import time

from django.http import HttpRequest

from accounts.conf import conf

#: An attacker who could forge the header would get this much more leeway for an older cookie.
MAX_SECONDS = 60.0


def queue_seconds(request: HttpRequest) -> float:
    """How long a request was in the proxy and in the server's queue. Call it as soon as a thread has the request.

    The proxy sends `X-Request-Waited`: the seconds for which it read the request, and the Unix time at which it passed
    the request on, as in "40.218 1767225600.123". The header counts only behind a trusted proxy (TRUSTED_PROXY_COUNT),
    and up to MAX_SECONDS. Returns 0 without it.
    """
    header = request.META.get("HTTP_X_REQUEST_WAITED")
    if header is None or not conf.trusted_proxy_count:
        return 0.0
    try:
        read_for, passed_on_at = map(float, header.split())
    except ValueError:
        return 0.0
    # The clock of a proxy on another host may differ.
    waited = max(read_for, 0.0) + max(time.time() - passed_on_at, 0.0)
    return min(waited, MAX_SECONDS) if math.isfinite(waited) else 0.0
