"""How far another machine's clock is from this host's, and how sure that is."""

from datetime import UTC
from email.utils import parsedate_to_datetime

#: Hand-offs are good for 60 seconds, on whichever host they arrive.
UPDATE_CLOCK_SECONDS = 30.0
#: The Date header counts whole seconds (RFC 9110 section 5.6.7).
_DATE_RESOLUTION_SECONDS = 1.0


def difference_from_date(date: str | None, *, sent_at: float, received_at: float) -> tuple[float, float] | None:
    """By how many seconds a server is ahead of this host, and how many of them are uncertain; None without a date.

    `date` is the server's Date header. `sent_at` and `received_at` are time.time() around the exchange.
    """
    try:
        stamped = parsedate_to_datetime(date or "")
    except (ValueError, TypeError):
        return None
    theirs = stamped.replace(tzinfo=stamped.tzinfo or UTC).timestamp() + _DATE_RESOLUTION_SECONDS / 2
    ours = (sent_at + received_at) / 2
    return theirs - ours, _DATE_RESOLUTION_SECONDS / 2 + (received_at - sent_at) / 2


def describe_difference(whose: str, difference: float, uncertain: float) -> str:
    """The same in words. `whose` begins the sentence."""
    if abs(difference) <= uncertain:
        return f"{whose} agrees with this host's, within {uncertain:.1f} s."
    direction = "ahead of" if difference > 0 else "behind"
    return f"{whose} is {abs(difference):.1f} s {direction} this host's (give or take {uncertain:.1f} s)."
