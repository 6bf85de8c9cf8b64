"""The browser's address, from behind a known number of proxies; and which addresses strangers cannot reach."""

import functools
from ipaddress import IPv6Address, ip_address, ip_network

from django.http import HttpRequest

from accounts.conf import conf

#: With a zone ("%eth0"), which does not count.
_MAX_LENGTH = 100
_PRIVATE_NAMES = (".localhost", ".local", ".test", ".internal")


def client_address(request: HttpRequest) -> str:
    """The address of the browser, or "" where it cannot be told.

    Each trusted proxy adds the address that it saw to the end of X-Forwarded-For. What stands further left came from
    the browser itself and can be forged, so with N trusted proxies the Nth from the right counts (TRUSTED_PROXY_COUNT).
    """
    seen = [part.strip() for part in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",") if part.strip()]
    seen.append(request.META.get("REMOTE_ADDR", ""))
    candidate = seen[max(0, len(seen) - 1 - conf.trusted_proxy_count)]
    return _spell(candidate) if len(candidate) <= _MAX_LENGTH else ""


@functools.lru_cache(maxsize=1024)
def _spell(candidate: str) -> str:
    """An address as it is usually written, or "". Browsers send many requests, and finding out takes a while."""
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


def client_network(address: str) -> str:
    """Where limits count an address: IPv4 by itself, IPv6 by its /64, which is what one customer has at least."""
    if not address:
        return ""
    ip = ip_address(address)
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped is None:
            return str(ip_network((ip, 64), strict=False).network_address)
        # A server that listens on both writes IPv4 so (RFC 4291 section 2.5.5.2), and all of it is one /64.
        ip = ip.ipv4_mapped
    return str(ip)
