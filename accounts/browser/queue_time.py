"""When a request arrived: at the proxy in front, which takes its body in first, and not at the thread that gets it."""

import math
import time

from django.http import HttpRequest

from accounts.conf import conf

#: Whoever could forge the header would have that much more leeway for an older cookie.
MAX_SECONDS = 60.0


def queue_seconds(request: HttpRequest) -> float:
    """How long a request was on its way through the proxy and the server's queue; call it as soon as a thread has it.

    The proxy says in `X-Request-Waited` for how many seconds it has taken the request in, and when, in seconds since
    1970, it passed it on: "40.218 1767225600.123". Counts where a proxy is trusted (TRUSTED_PROXY_COUNT), and up to
    MAX_SECONDS. 0 where nobody says.
    """
    said = request.META.get("HTTP_X_REQUEST_WAITED")
    if said is None or not conf.trusted_proxy_count:
        return 0.0
    try:
        taken_in, passed_on = map(float, said.split())
    except ValueError:
        return 0.0
    # A proxy on another host has a clock of its own.
    waited = max(taken_in, 0.0) + max(time.time() - passed_on, 0.0)
    return min(waited, MAX_SECONDS) if math.isfinite(waited) else 0.0
