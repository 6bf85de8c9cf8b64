"""Connections and HTTP requests of the doctor, without cookies, and without the proxy settings of this host.

Such a proxy would be examined instead of the proxies in front of the server.
"""

import os
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from urllib.parse import urlsplit

import requests
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.exceptions import HTTPError

from accounts.doctor.findings import Finding, Findings, ok, problem, warning
from accounts.text import parse_address

#: The errors of a request; `requests`' own are OSErrors.
TROUBLE = (OSError, HTTPError)
CONNECT_SECONDS = 5.0
_READ_SECONDS = 10.0
_RENEW_BEFORE_DAYS = 14


def origin_of(url: str) -> str:
    """Scheme, host and port of an absolute address, such as "https://example.com"; "" for anything else."""
    try:
        pieces = urlsplit(url)
        port = f":{pieces.port}" if pieces.port else ""
    except ValueError:
        return ""
    return f"{pieces.scheme}://{pieces.hostname}{port}" if pieces.scheme and pieces.hostname else ""


def host_and_port(url: str) -> tuple[str, int]:
    pieces = urlsplit(url)
    return pieces.hostname or "", pieces.port or (443 if pieces.scheme == "https" else 80)


def examine_server(group: str, url: str, authorities: str = DEFAULT_CA_BUNDLE_PATH) -> Findings:
    """Connect to the server, and verify its certificate. The last finding is a problem if the server cannot be used.

    `authorities` is a file of trusted certificates; the default is that of calls to the API.
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
            yield _certificate(f"{group}.certificate", connection, host, authorities)


def _certificate(name: str, connection: socket.socket, host: str, authorities: str) -> Finding:
    context = ssl.create_default_context(cafile=authorities)
    try:
        with context.wrap_socket(connection, server_hostname=host) as encrypted:
            certificate, version = encrypted.getpeercert() or {}, encrypted.version()
    except ssl.SSLCertVerificationError as error:
        return problem(name, f"The certificate of {host} is invalid: {error.verify_message}.", "Replace it.")
    except OSError as error:
        return problem(name, f"The TLS handshake with {host} fails: {_reason(error)}.", "Is this the port for HTTPS?")
    days = (ssl.cert_time_to_seconds(str(certificate["notAfter"])) - time.time()) / 86_400
    found = f"The certificate of {host} is valid for another {days:.0f} days ({version})."
    if days < _RENEW_BEFORE_DAYS:
        return warning(name, found, "Renew it, and find out why the automatic renewal did not.")
    return ok(name, found)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error.args[0] if error.args else "") or type(error).__name__


def trusted_authorities() -> str:
    """The certificates that `request` trusts. The operator of a site with a private authority names a file."""
    return os.environ.get("REQUESTS_CA_BUNDLE") or DEFAULT_CA_BUNDLE_PATH


@contextmanager
def request(
    method: str, url: str, *, headers: Mapping[str, str] | None = None, read_seconds: float = _READ_SECONDS
) -> Iterator[requests.Response]:
    """One request on its own connection, with an unread body. Follows no redirect, keeps no cookie. Raises TROUBLE."""
    with requests.Session() as session:
        session.trust_env = False
        session.verify = trusted_authorities()
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        with session.request(
            method,
            url,
            headers={"User-Agent": "doctor", **(headers or {})},
            timeout=(CONNECT_SECONDS, read_seconds),
            allow_redirects=False,
            stream=True,
        ) as response:
            yield response


def clock_difference(date: str | None, *, sent_at: float, received_at: float) -> float | None:
    """By how many seconds a server's clock is ahead of this host's; None without a date.

    `date` is the server's Date header, which counts whole seconds (RFC 9110 section 5.6.7). `sent_at` and
    `received_at` are time.time() before and after the request.
    """
    try:
        stamped = parsedate_to_datetime(date or "")
    except (ValueError, TypeError):
        return None
    return stamped.replace(tzinfo=stamped.tzinfo or UTC).timestamp() + 0.5 - (sent_at + received_at) / 2
