"""The browser's address, from behind a known number of proxies; and which addresses strangers cannot reach."""

from ipaddress import ip_address

from django.http import HttpRequest

from accounts.conf import conf

_PRIVATE_NAMES = (".localhost", ".local", ".test", ".internal")


def client_address(request: HttpRequest) -> str:
    """The address of the browser, or "" where it cannot be told.

    Each trusted proxy adds the address that it saw to the end of X-Forwarded-For. What stands further left came from
    the browser itself and can be forged, so with N trusted proxies the Nth from the right counts (TRUSTED_PROXY_COUNT).
    """
    seen = [part.strip() for part in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",") if part.strip()]
    seen.append(request.META.get("REMOTE_ADDR", ""))
    candidate = seen[max(0, len(seen) - 1 - conf.trusted_proxy_count)]
    try:
        return str(ip_address(candidate.partition("%")[0]))
    except ValueError:
        return ""


def is_private(host: str) -> bool:
    """Whether a name or an address leads to this machine, or to one of a network that is not open to everybody."""
    name = host.strip("[]").lower()
    try:
        return ip_address(name).is_private
    except ValueError:
        return "*" not in name and ("." not in name or name.endswith(_PRIVATE_NAMES))
