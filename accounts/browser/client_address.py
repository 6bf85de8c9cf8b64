"""The browser's address behind a known number of proxies, and whether an address is private."""

import functools
from ipaddress import IPv6Address, ip_address, ip_network

from django.http import HttpRequest

from accounts.conf import conf

#: Includes a zone ("%eth0"), which is dropped.
_MAX_LENGTH = 100
_PRIVATE_NAMES = (".localhost", ".local", ".test", ".internal")


def client_address(request: HttpRequest) -> str:
    """The address of the browser; "" if it is unknown.

    Each trusted proxy appends the address that it saw to X-Forwarded-For. Entries further left came from the browser,
    which can forge them. So with N trusted proxies (TRUSTED_PROXY_COUNT) the Nth entry from the right counts.
    """
    hops = [part.strip() for part in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",") if part.strip()]
    hops.append(request.META.get("REMOTE_ADDR", ""))
    candidate = hops[max(0, len(hops) - 1 - conf.trusted_proxy_count)]
    return _normalize(candidate) if len(candidate) <= _MAX_LENGTH else ""


@functools.lru_cache(maxsize=1024)
def _normalize(candidate: str) -> str:
    """The canonical form of an IP address; "" for any other text. Cached, because parsing is slow."""
    try:
        return str(ip_address(candidate.partition("%")[0]))
    except ValueError:
        return ""


def is_private(host: str) -> bool:
    """Whether a host name or an address leads to this machine or to a private network."""
    name = host.strip("[]").lower()
    try:
        return ip_address(name).is_private
    except ValueError:
        return "*" not in name and ("." not in name or name.endswith(_PRIVATE_NAMES))


def client_network(address: str) -> str:
    """The network by which rate limits count an address: an IPv4 address, or an IPv6 /64, the least a customer gets."""
    if not address:
        return ""
    ip = ip_address(address)
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped is None:
            return str(ip_network((ip, 64), strict=False).network_address)
        # A dual-stack server writes IPv4 addresses like this (RFC 4291 section 2.5.5.2). All of them share one /64.
        ip = ip.ipv4_mapped
    return str(ip)
