"""What the site makes of a request: was it HTTPS, and whose? And do caches and plain HTTP stay out of the way?"""

import socket
from ipaddress import ip_address
from urllib.parse import urlsplit

from django.urls import reverse

from accounts.browser.client_address import is_private
from accounts.doctor.endpoint import Order
from accounts.doctor.findings import Finding, Findings, ok, problem, problem_in_production, warning
from accounts.doctor.network import CONNECT_SECONDS, TROUBLE, ask
from accounts.doctor.visits import Visit, send

PROXY_ADVICE = (
    "The proxy has to set X-Forwarded-Proto itself, whatever the browser sent, and TRUSTED_PROXY_COUNT has to count it."
)
#: TEST-NET-3 (RFC 5737): nobody's address.
_FORGED_ADDRESS = "203.0.113.77"


def examine_scheme(visit: Visit) -> Findings:
    name, seen = "site.scheme", visit.first.seen
    secure = bool(seen["secure"])
    if urlsplit(visit.url).scheme == "https":
        if secure:
            yield ok(name, "The site knows that it was asked over HTTPS.")
        else:
            said = f"X-Forwarded-Proto is {seen['forwarded_proto']!r}" if seen["forwarded_proto"] else "nobody says so"
            yield problem(name, f"The site takes HTTPS for plain HTTP: {said}.", PROXY_ADVICE)
        return
    if secure:
        found = "The site takes plain HTTP for HTTPS."
        yield problem(name, found, "X-Forwarded-Proto has to say how the browser came, not how the proxies talk.")
        return
    found = "It was asked over plain HTTP, which everybody on the way can read."
    if not visit.debug and _is_loopback(visit.url):
        advice = "Fine on this machine alone. Ask the public address for what users get."
        yield warning(name, found, advice)
    else:
        yield problem_in_production(name, found, "Serve it over HTTPS.", debug=visit.debug)


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def examine_address(visit: Visit) -> Findings:
    """The address that a visitor has for the site: known, not a proxy's, and not one of the visitor's own choosing."""
    name, seen = "site.address", visit.first.seen
    address, entries, trusted = str(seen["address"]), int(seen["forwarded_for"]), int(seen["trusted_proxies"])
    forged = send(visit.url, Order.LOOK, headers={"X-Forwarded-For": _FORGED_ADDRESS}).seen.get("address")
    counts = f"{entries} in X-Forwarded-For, TRUSTED_PROXY_COUNT is {trusted}"
    set_it = f"Set TRUSTED_PROXY_COUNT={entries}, if all requests come this way."
    if forged == _FORGED_ADDRESS:
        found = f"Every visitor can choose the address that the site takes for theirs ({counts})."
        yield problem_in_production(name, found, set_it, debug=visit.debug)
    elif entries > trusted:
        found = f"All visitors have the address of a proxy, {address}, and share its limit of sign-ins ({counts})."
        yield problem_in_production(name, found, set_it, debug=visit.debug)
    elif entries < trusted:
        found = f"The site expects more proxies than tell an address ({counts}): {address} may be one of theirs."
        yield warning(name, found, f"Each proxy has to add the address that it saw, or: {set_it}")
    elif not address:
        found = f"The site cannot tell where its visitors are ({counts})."
        yield warning(name, found, "Have the proxy set X-Forwarded-For, and count it in TRUSTED_PROXY_COUNT.")
    elif not entries and is_private(address) and address != _own_address(visit.url):
        found = f"This command has the address {address} for the site, which is one of a private network."
        yield warning(name, found, "If that is a proxy's, have it set X-Forwarded-For, and set TRUSTED_PROXY_COUNT.")
    else:
        yield ok(name, f"This command has the address {address} for the site ({counts}).")


def _own_address(url: str) -> str:
    """The address that this host has on the way to the site."""
    pieces = urlsplit(url)
    port = pieces.port or (443 if pieces.scheme == "https" else 80)
    with socket.create_connection((pieces.hostname or "", port), timeout=CONNECT_SECONDS) as connection:
        return str(connection.getsockname()[0])


def examine_caching(visit: Visit) -> Findings:
    """An answer about a session that a shared cache keeps makes users each other."""
    name, path = "site.caching", reverse("accounts:session")
    with ask("GET", visit.url + path, headers={"Accept": "application/json"}) as response:
        status, headers = response.status_code, response.headers
    control = headers.get("Cache-Control", "")
    directives = {directive.strip().partition("=")[0].lower() for directive in control.split(",")}
    if status != 200:
        yield problem(name, f"GET {path} is answered with {status}.", "Look at the logs of proxy and site.")
    elif "Age" in headers or directives & {"public", "s-maxage"} or not directives & {"private", "no-store"}:
        age = f", and it is {headers['Age']} s old" if "Age" in headers else ""
        found = (
            f"A shared cache may keep what {path} says of one user for all others: Cache-Control is {control!r}{age}."
        )
        yield problem(
            name, found, "Have the proxy or CDN leave Cache-Control alone, and cache no answer of this site's."
        )
    elif "cookie" not in headers.get("Vary", "").lower():
        yield warning(name, f"{path} has lost its Vary: Cookie on the way.", "Have the proxy leave Vary alone.")
    else:
        yield ok(name, f"No shared cache keeps what {path} says (Cache-Control: {control}).")


def examine_redirect(visit: Visit) -> Findings:
    """Where HTTPS has its own port, plain HTTP may be anywhere, so nothing is asked."""
    url = urlsplit(visit.url)
    if url.scheme == "https" and url.port in (None, 443):
        yield examine_plain_http(f"http://{url.hostname}")


def examine_plain_http(url: str) -> Finding:
    """Whether `url`, the site's address over plain HTTP, leads to HTTPS and nowhere else."""
    name = "site.redirect"
    try:
        with ask("GET", url + reverse("accounts:session")) as response:
            status, location = response.status_code, response.headers.get("Location", "")
    except TROUBLE:
        return ok(name, "Nobody answers over plain HTTP.")
    if 300 <= status < 400 and location.startswith("https://"):
        return ok(name, "Plain HTTP is redirected to HTTPS.")
    return problem(
        name,
        f"Plain HTTP is answered with {status}, where a redirect to HTTPS is expected.",
        "Set SECURE_SSL_REDIRECT=true, or redirect in the proxy; the proxy has to overwrite X-Forwarded-Proto.",
    )
