"""`{% session_end as end %}`: the notice that the session is about to end, for `accounts/session_end.html`."""

import math
import time
from typing import Any

from django import template
from django.urls import reverse

from accounts.browser.error_responses import switch_url

register = template.Library()

#: The notice appears so long before the end. The script has the same number.
NOTICE_SECONDS = 300
#: Few pages stay open for longer, and the notice costs each page some time.
_LONGEST_WATCH_SECONDS = 2 * 24 * 3600


@register.simple_tag(takes_context=True)
def session_end(context: Any) -> dict[str, Any] | None:
    """The seconds until the session ends although it is used, and the way to a new sign-in.

    None if there is no end, or none within two days. Looks only at a session that the view or the page has used, and
    makes no query. The sign-in page itself has none.
    """
    request = getattr(context, "request", None)
    browser = getattr(request, "api_session", None)
    if request is None or browser is None or not browser.accessed:
        return None
    session = browser.current_unchecked()
    end = None if session is None else session.known_end()
    if end is None or end - time.time() > _LONGEST_WATCH_SECONDS or request.path == reverse("accounts:login"):
        return None
    seconds = max(0, math.floor(end - time.time()))
    return {
        "seconds": seconds,
        "minutes": math.ceil(seconds / 60),
        "is_soon": seconds <= NOTICE_SECONDS,
        "sign_in": switch_url(request),
    }
