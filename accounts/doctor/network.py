"""Connections and HTTP requests of the doctor, without cookies, and without the proxy settings of this host.

Such a proxy would be examined instead of the proxies in front of the server.
"""

import os
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import requests
from django.urls import reverse
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.exceptions import HTTPError

from accounts.browser.client_address import is_private
from accounts.doctor.endpoint import TICKET_HEADER, Order, Ticket
from accounts.doctor.findings import Finding, Findings, ok, problem, warning
from accounts.text import parse_address, parse_json

#: The errors of a request; `requests`' own are OSErrors.
TROUBLE = (OSError, HTTPError)
CONNECT_SECONDS = 5.0
READ_SECONDS = 10.0
_RENEW_BEFORE_DAYS = 14
_MAX_BODY_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class SiteResponse:
    """`seen` is how the site saw the request, {} for a response that is not the endpoint's."""

    status: int
    location: str = field(repr=False)
    set_cookies: list[str] = field(repr=False)
    seen: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class DeployedSite:
    """The site at `url`, and its first response."""

    url: str
    first: SiteResponse

    @property
    def is_in_development(self) -> bool:
        """Whether DEBUG is on there, and strangers cannot reach it."""
        return bool(self.first.seen["debug"]) and is_private(urlsplit(self.url).hostname or "")

    def problem(self, name: str, found: str, advice: str) -> Finding:
        """A problem in production. In development it is ok."""
        return ok(name, found, advice) if self.is_in_development else problem(name, found, advice)


def origin_of(url: str) -> str:
    """Scheme, host and port of an absolute address, such as "https://example.com"; "" for anything else."""
    with suppress(ValueError):
        pieces = urlsplit(url)
        port = f":{pieces.port}" if pieces.port else ""
        host = f"[{pieces.hostname}]" if ":" in (pieces.hostname or "") else pieces.hostname
        return f"{pieces.scheme}://{host}{port}" if pieces.scheme and pieces.hostname else ""
    return ""


def host_and_port(url: str) -> tuple[str, int]:
    pieces = urlsplit(url)
    return pieces.hostname or "", pieces.port or (443 if pieces.scheme == "https" else 80)


def examine_server(group: str, url: str, authorities: str = DEFAULT_CA_BUNDLE_PATH, more: str = "") -> Findings:
    """Connect to the server, and verify its certificate. The last finding is a problem if the server cannot be used.

    `authorities` is a file of trusted certificates; the default is that of calls to the API. `more` are further ones.
    """
    if parse_address(url) is None:
        yield problem(f"{group}.address", "This is not the address of a server.", "Write it like https://example.com.")
        return
    host, port = host_and_port(url)
    try:
        connection = socket.create_connection((host, port), timeout=CONNECT_SECONDS)
    except (OSError, UnicodeError) as error:
        advice = "Check the spelling and this host's DNS resolver, start the server, and check the firewalls."
        yield problem(f"{group}.connection", f"{host}:{port} cannot be reached: {_reason(error)}.", advice)
        return
    with connection:
        yield ok(f"{group}.connection", f"{host}:{port} can be reached ({connection.getpeername()[0]}).")
        if url.startswith("https:"):
            yield _certificate(f"{group}.certificate", connection, host, authorities, more)


def _certificate(name: str, connection: socket.socket, host: str, authorities: str, more: str) -> Finding:
    context = ssl.create_default_context(cafile=authorities, cadata=more or None)
    try:
        with context.wrap_socket(connection, server_hostname=host) as encrypted:
            certificate, version = encrypted.getpeercert() or {}, encrypted.version()
    except ssl.SSLCertVerificationError as error:
        advice = "Replace it. If your own authority issued it, name a file with that authority: API_CA_BUNDLE for the "
        advice += "API, REQUESTS_CA_BUNDLE for the site."
        return problem(name, f"The certificate of {host} is invalid: {error.verify_message}.", advice)
    except OSError as error:
        return problem(name, f"The TLS handshake with {host} fails: {_reason(error)}.", "Is this the port for HTTPS?")
    days = (ssl.cert_time_to_seconds(str(certificate["notAfter"])) - time.time()) / 86_400
    found = f"The certificate of {host} is valid for another {days:.0f} days ({version})."
    if days < _RENEW_BEFORE_DAYS:
        return warning(name, found, "Renew it, and find out why it was not renewed automatically.")
    return ok(name, found)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error.args[0] if error.args else "") or type(error).__name__


def trusted_authorities() -> str:
    """The certificates that `request` trusts. The operator of a site with a private authority names a file."""
    return os.environ.get("REQUESTS_CA_BUNDLE") or DEFAULT_CA_BUNDLE_PATH


@contextmanager
def request(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    read_seconds: float = READ_SECONDS,
    adapter: HTTPAdapter | None = None,
) -> Iterator[requests.Response]:
    """One request on its own connection, with an unread body. Follows no redirect, keeps no cookie. Raises TROUBLE.

    An `adapter` trusts its own authorities.
    """
    headers = {"User-Agent": "doctor", **(headers or {})}
    with requests.Session() as session:
        session.trust_env = False
        if adapter is None:
            session.verify = trusted_authorities()
        else:
            session.mount("https://", adapter)
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        timeout = (CONNECT_SECONDS, read_seconds)
        with session.request(
            method, url, headers=headers, timeout=timeout, allow_redirects=False, stream=True
        ) as response:
            yield response


def read_json(response: requests.Response) -> Any:
    """The JSON of a body of at most 64 KB; None for any other body. Raises TROUBLE."""
    with suppress(ValueError, RecursionError):
        return parse_json(response.raw.read(_MAX_BODY_BYTES, decode_content=True))
    return None


def send_order(url: str, order: Order, *, size: int = 0, headers: Mapping[str, str] | None = None) -> SiteResponse:
    """Send an order to the endpoint of the site at `url`. Raises TROUBLE."""
    headers = {TICKET_HEADER: Ticket(order, size).seal(), **(headers or {})}
    with request("POST", url + reverse("accounts:doctor"), headers=headers) as response:
        cookies, location = response.raw.headers.getlist("Set-Cookie"), response.headers.get("Location", "")
        body = read_json(response)
        seen = body if response.status_code == 200 and isinstance(body, dict) and "doctor" in body else {}
        return SiteResponse(response.status_code, location, cookies, seen)
