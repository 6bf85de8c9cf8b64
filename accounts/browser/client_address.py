"""The browser's address behind a known number of proxies, and whether an address is private."""

import functools
import logging
import re
from ipaddress import IPv6Address, ip_address, ip_network

from django.http import HttpRequest

from accounts.conf import conf

logger = logging.getLogger(__name__)

#: Includes a zone ("%eth0") and a port, which are dropped.
_MAX_LENGTH = 100
# What proxies write around an address: quotes, the brackets of an IPv6 address, and a port.
_BRACKETED = re.compile(r"\[([^\[\]]*)\](?::[0-9]{1,5})?", re.ASCII)
_IPV4_WITH_PORT = re.compile(r"([0-9.]+):[0-9]{1,5}", re.ASCII)
_PRIVATE_NAMES = (".localhost", ".local", ".test", ".internal")


def client_address(request: HttpRequest) -> str:
    """The address of the browser; "" if it is unknown, which the log says once.

    Each trusted proxy appends the address that it saw to X-Forwarded-For. Entries further left came from the browser,
    which can forge them. So with N trusted proxies (TRUSTED_PROXY_COUNT) the Nth entry from the right counts. The
    nearest proxy may use a Unix socket: REMOTE_ADDR is empty then, and the header counts as usual.
    """
    hops = [part.strip() for part in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",") if part.strip()]
    hops.append(request.META.get("REMOTE_ADDR", ""))
    candidate = hops[max(0, len(hops) - 1 - conf.trusted_proxy_count)]
    address = _normalize(candidate) if len(candidate) <= _MAX_LENGTH else ""
    if not address:
        _warn_of_unknown_address(conf.trusted_proxy_count)
    return address


@functools.lru_cache(maxsize=1024)
def _normalize(candidate: str) -> str:
    """The canonical form of an IP address; "" for any other text. Cached, because parsing is slow."""
    text = candidate.strip('"')
    if match := _BRACKETED.fullmatch(text) or _IPV4_WITH_PORT.fullmatch(text):
        text = match[1]
    try:
        ip = ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    # A dual-stack server writes IPv4 addresses as a part of IPv6 (RFC 4291 section 2.5.5.2).
    return str(ip.ipv4_mapped or ip) if isinstance(ip, IPv6Address) else str(ip)


@functools.lru_cache(maxsize=8)
def _warn_of_unknown_address(proxies: int) -> None:
    """Log once in each process. The header is not logged: browsers can write into it."""
    if proxies:
        advice = "The proxies have to write the browser's address into X-Forwarded-For, and TRUSTED_PROXY_COUNT has to "
        advice += "be the number of these proxies."
    else:
        advice = "The server got none, as on a Unix socket. If a proxy is in front of it, set TRUSTED_PROXY_COUNT to "
        advice += "the number of proxies."
    logger.warning(
        "the address of a browser is unknown (TRUSTED_PROXY_COUNT is %s). All such browsers share one limit on failed "
        "sign-ins, and the API is told no address. %s",
        proxies,
        advice,
    )


def is_private(host: str) -> bool:
    """Whether a host name or an address leads to this machine or to a private network."""
    name = host.strip("[]").lower()
    try:
        return ip_address(name).is_private
    except ValueError:
        return "*" not in name and ("." not in name or name.endswith(_PRIVATE_NAMES))


def client_network(address: str, prefix_length: int = 64) -> str:
    """The network by which rate limits count an address: the IPv4 address itself, or the IPv6 network with this prefix.

    A /64 is the least that a customer of a provider gets.
    """
    if not address:
        return ""
    ip = ip_address(address)
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped is None:
            return str(ip_network((ip, prefix_length), strict=False).network_address)
        ip = ip.ipv4_mapped
    return str(ip)
