"""Reaching a server, and asking it over HTTP: with timeouts, without cookies, and past the proxies of this machine's
environment, which would be examined in place of what stands in front of the server."""

import os
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.cookiejar import DefaultCookiePolicy
from urllib.parse import SplitResult, urlsplit

import requests
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.exceptions import HTTPError

from accounts.doctor.findings import Finding, Findings, ok, problem, warning

#: What goes wrong on the way; `requests`' own errors are OSErrors.
TROUBLE = (OSError, HTTPError)
CONNECT_SECONDS = 5.0
READ_SECONDS = 10.0
_RENEW_BEFORE_DAYS = 14


def read_address(url: str) -> SplitResult | None:
    """The pieces of an http or https address; None for anything else, and for one with a user name in it."""
    try:
        pieces = urlsplit(url)
        usable = pieces.scheme in ("http", "https") and pieces.hostname and pieces.port != 0
    except ValueError:
        return None
    return pieces if usable and not (pieces.query or pieces.fragment or "@" in pieces.netloc) else None


def origin_of(url: str) -> str:
    """Scheme, host and port of an absolute address, such as "https://example.com"; "" for anything else."""
    try:
        pieces = urlsplit(url)
        port = f":{pieces.port}" if pieces.port else ""
    except ValueError:
        return ""
    return f"{pieces.scheme}://{pieces.hostname}{port}" if pieces.scheme and pieces.hostname else ""


def examine_server(group: str, url: str, context: ssl.SSLContext) -> Findings:
    """Whether the server at `url` has a name that leads somewhere, listens there, and shows a certificate that
    `context` trusts. Ends with a problem where the server cannot be used."""
    pieces = read_address(url)
    if pieces is None:
        yield problem(f"{group}.address", "The address is not one of a server.", "It looks like https://example.com.")
        return
    host, port = pieces.hostname or "", pieces.port or (443 if pieces.scheme == "https" else 80)
    try:
        addresses = {str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        advice = "Look for a typing error, and at this host's name service."
        yield problem(f"{group}.address", f"The name {host} leads to no address.", advice)
        return
    try:
        connection = socket.create_connection((host, port), timeout=CONNECT_SECONDS)
    except OSError as error:
        yield problem(
            f"{group}.connection",
            f"{host}:{port} cannot be reached: {_reason(error)}.",
            "Is it running, and does a firewall let this host through?",
        )
        return
    with connection:
        yield ok(f"{group}.connection", f"{host}:{port} can be reached ({', '.join(sorted(addresses))}).")
        if pieces.scheme == "https":
            yield _certificate(group, connection, host, context)


def _certificate(group: str, connection: socket.socket, host: str, context: ssl.SSLContext) -> Finding:
    name = f"{group}.certificate"
    try:
        with context.wrap_socket(connection, server_hostname=host) as encrypted:
            certificate, version = encrypted.getpeercert() or {}, encrypted.version()
    except ssl.SSLCertVerificationError as error:
        return problem(name, f"The certificate of {host} is not accepted: {error.verify_message}.", "Renew or mend it.")
    except OSError as error:
        return problem(name, f"{host} does not agree on TLS: {_reason(error)}.", "Is this port one for https?")
    days = (ssl.cert_time_to_seconds(str(certificate["notAfter"])) - time.time()) / 86_400
    found = f"The certificate of {host} is good for another {days:.0f} days ({version})."
    if days < _RENEW_BEFORE_DAYS:
        return warning(name, found, "Renew it, and find out why that did not happen by itself.")
    return ok(name, found)


def trust_of_the_api() -> ssl.SSLContext:
    """What calls to the API trust."""
    return ssl.create_default_context(cafile=DEFAULT_CA_BUNDLE_PATH)


def own_bundle() -> str | None:
    """The certificates that this machine's administrator has `requests` trust, for a site with an authority of its
    own."""
    return os.environ.get("REQUESTS_CA_BUNDLE") or None


def trust_of_this_machine() -> ssl.SSLContext:
    """What `ask` trusts."""
    return ssl.create_default_context(cafile=own_bundle() or DEFAULT_CA_BUNDLE_PATH)


@contextmanager
def ask(
    method: str, url: str, *, headers: Mapping[str, str] | None = None, read_seconds: float = READ_SECONDS
) -> Iterator[requests.Response]:
    """One request on a connection of its own; the body is left to be read. Follows no redirect, keeps no cookie.

    Raises TROUBLE.
    """
    with requests.Session() as session:
        session.trust_env = False
        session.verify = own_bundle() or True
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


def _reason(error: OSError) -> str:
    return error.strerror or str(error.args[0] if error.args else "") or type(error).__name__
