"""The deployed site, asked over the network: does it respond, and what do the proxies in front of it change?"""

import socket
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from django.urls import reverse

from accounts.browser.client_address import is_private
from accounts.conf import conf
from accounts.doctor import http2, network
from accounts.doctor.endpoint import PIECE_INTERVAL_SECONDS, PIECES, TICKET_HEADER, Order, Ticket
from accounts.doctor.findings import Finding, Findings, Status, ok, problem, warning, worst
from accounts.doctor.site_cookies import examine_cookie_size, examine_set_cookie
from accounts.session.sealing import key_ids

#: TEST-NET-3 (RFC 5737): no host has it.
_FORGED_ADDRESS = "203.0.113.77"
_STREAM_SECONDS = (PIECES - 1) * PIECE_INTERVAL_SECONDS
_READ_BYTES = 64 * 1024
_READ_LOGS = "Read the logs of the proxy and of the site."
_SCHEME_ADVICE = (
    "The proxy must overwrite X-Forwarded-Proto with the browser's scheme, and TRUSTED_PROXY_COUNT must count it."
)
_STREAM_ADVICE = (
    "Turn off buffering and compression for this site in each proxy (nginx: proxy_buffering off, gzip off; the site "
    "already sends X-Accel-Buffering: no)."
)
_CUT_ADVICE = (
    "The proxies and the site must speak HTTP/1.1 or newer with each other (nginx: proxy_http_version 1.1). Caddy and "
    "HAProxy hide cuts before version 2.8: update them. granian does so with --interface wsgi: use gunicorn."
)


def examine_site(url: str) -> Findings:
    """`url` is the site's public address, without a slash at the end."""
    reached = list(network.examine_server("site", url, network.trusted_authorities()))
    yield from reached
    if worst(reached) is Status.PROBLEM:
        return
    try:
        first = network.send_order(url, Order.LOOK)
    except network.TROUBLE as error:
        yield problem("site.answer", f"There is no response: {type(error).__name__}.", _READ_LOGS)
        return
    if not first.seen:
        yield _explain_response(url, first)
        return
    site = network.DeployedSite(url, first)
    yield from _compare_settings(site)
    examinations: dict[str, Callable[[network.DeployedSite], Finding]] = {
        "scheme": examine_scheme,
        "address": examine_address,
        "set-cookie": examine_set_cookie,
        "cookie-size": examine_cookie_size,
        "streamed-page": lambda site: examine_stream(site, "site.streamed-page", Order.STREAM_PAGE),
        "event-stream": lambda site: examine_stream(site, "site.event-stream", Order.STREAM_EVENTS),
        "cut-stream": examine_cut_stream,
        "caching": examine_caching,
    }
    if network.host_and_port(url)[1] == 443:
        # With another port for HTTPS, the one for plain HTTP is unknown.
        examinations["redirect"] = lambda site: examine_plain_http(f"http://{urlsplit(url).hostname}")
    for name, examine in examinations.items():
        try:
            yield examine(site)
        except network.TROUBLE as error:
            yield problem(f"site.{name}", f"The site no longer responds: {type(error).__name__}.", _READ_LOGS)


def _explain_response(url: str, response: network.SiteResponse) -> Finding:
    """Why the endpoint did not respond."""
    name, status = "site.answer", response.status
    found = f"The response has status {status}"
    if 300 <= status < 400:
        target = network.origin_of(response.location)
        if url.startswith("https:") and target in ("", network.origin_of(url)):
            found = "The site takes HTTPS for plain HTTP, and redirects to the same address without end."
            return problem(name, found, _SCHEME_ADVICE)
        return problem(name, f"It redirects to {target or 'another address'}.", f"Ask there: --url {target or url}")
    if status == 404:
        found += ": the site does not accept this command's ticket."
        advice = "Run the command with the settings of the deployed site: its keys seal the ticket, for a minute, so"
        return problem(name, found, f"{advice} the clocks must agree. An older release may lack the endpoint.")
    if status == 400:
        return problem(name, f"{found}.", f"Is {urlsplit(url).hostname} in the site's ALLOWED_HOSTS?")
    if status in (401, 403):
        return problem(name, f"{found}, from something in front of the site.", "Run the command where users are.")
    if status == 200:
        return problem(name, f"{found}, but it is not this site's.", "Check the address.")
    return problem(name, f"{found}.", _READ_LOGS)


def _compare_settings(site: network.DeployedSite) -> Findings:
    seen, asked_for = site.first.seen, urlsplit(site.url).netloc.lower()
    host, seen_host = (name.removesuffix(":443").removesuffix(":80") for name in (asked_for, str(seen["host"])))
    if seen_host == host:
        yield ok("site.answer", f"The site responds, as {host}.")
    else:
        found = f"The command asks for {host}, but the site sees {seen['host']}: its CSRF checks refuse its own forms."
        yield warning("site.answer", found, "The proxy must pass the Host header on: redirects lead to that host.")
    here = {"keys": key_ids(), "cookie_name": conf.cookie_name, "trusted_proxies": conf.trusted_proxy_count}
    if different := [name.replace("_", " ") for name, value in here.items() if seen[name] != value]:
        found = f"This command and the site have different settings: {', '.join(different)}."
        yield warning("site.settings", found, "Run it with the site's settings, and give all hosts the same ones.")


def examine_scheme(site: network.DeployedSite) -> Finding:
    name, secure, header = "site.scheme", site.first.seen["secure"], site.first.seen["forwarded_proto"]
    if site.url.startswith("https:"):
        if secure:
            return ok(name, "The site sees that the request came over HTTPS.")
        found = f"The site takes HTTPS for plain HTTP: X-Forwarded-Proto is {repr(header) if header else 'not set'}."
        return problem(name, found, _SCHEME_ADVICE)
    if secure:
        advice = "X-Forwarded-Proto must name the browser's scheme, not the scheme between the proxies."
        return problem(name, "The site takes plain HTTP for HTTPS.", advice)
    found = "The request came over plain HTTP, which everyone on the way can read."
    if not site.is_in_development and urlsplit(site.url).hostname in ("localhost", "127.0.0.1", "::1"):
        return warning(name, found, "That is fine on this host only. Examine the public address of the site.")
    return site.problem(name, found, "Serve the site over HTTPS.")


def examine_address(site: network.DeployedSite) -> Finding:
    """The site must know the visitor's address. It must not be a proxy's, and the visitor must not be able to forge
    it."""
    name, seen = "site.address", site.first.seen
    address, entries, trusted = str(seen["address"]), int(seen["forwarded_for"]), int(seen["trusted_proxies"])
    forged = network.send_order(site.url, Order.LOOK, headers={"X-Forwarded-For": _FORGED_ADDRESS}).seen.get("address")
    counts = f"{entries} in X-Forwarded-For, TRUSTED_PROXY_COUNT is {trusted}"
    advice = f"Set TRUSTED_PROXY_COUNT={entries}, if all requests come this way."
    if forged == _FORGED_ADDRESS:
        return site.problem(name, f"Every visitor can forge the address that the site sees ({counts}).", advice)
    if entries > trusted:
        found = f"The site sees a proxy's address, {address}, for all visitors: they share one sign-in limit"
        return site.problem(name, f"{found} ({counts}).", advice)
    if entries < trusted:
        found = f"Fewer proxies add an address than the site expects ({counts}): {address} may be a proxy's."
        return warning(name, found, f"Each proxy must add the address that it saw. Or: {advice}")
    if not address:
        advice = "The proxy must set X-Forwarded-For, and TRUSTED_PROXY_COUNT must count it."
        return warning(name, f"The site cannot see its visitors' addresses ({counts}).", advice)
    if not entries and is_private(address):
        with socket.create_connection(network.host_and_port(site.url), timeout=network.CONNECT_SECONDS) as connection:
            own_address = connection.getsockname()[0]
        if address != own_address:
            advice = "If it is a proxy's, the proxy must set X-Forwarded-For, and TRUSTED_PROXY_COUNT must count it."
            return warning(name, f"The site sees this command at {address}, an address of a private network.", advice)
    return ok(name, f"The site sees this command at {address} ({counts}).")


def examine_stream(site: network.DeployedSite, name: str, order: Order) -> Finding:
    """The pieces of a stream must arrive one by one."""
    for _ in range(2):
        # Twice, because a busy moment of this host looks like a proxy that holds them back.
        arrivals = _arrivals(site.url, order)
        if len(arrivals) < PIECES:
            continue
        seconds = arrivals[-1] - arrivals[0]
        found = f"{PIECES} pieces, sent over {_STREAM_SECONDS:.1f} s, arrived within {seconds:.1f} s"
        if seconds >= _STREAM_SECONDS / 2:
            return ok(name, f"{found}, one by one.")
    if len(arrivals) < PIECES:
        return site.problem(name, f"{len(arrivals)} of {PIECES} pieces of a stream arrived.", _STREAM_ADVICE)
    return site.problem(name, f"{found}: a proxy or the server holds them back.", _STREAM_ADVICE)


def examine_cut_stream(site: network.DeployedSite) -> Finding:
    """A stream that breaks off must not look complete. Proxies differ by the version of HTTP."""
    name, path = "site.cut-stream", reverse("accounts:doctor")
    ticket = {TICKET_HEADER: Ticket(Order.CUT_STREAM).seal()}
    hides = []
    with network.request("POST", site.url + path, headers=ticket) as response:
        if response.status_code != 200:
            return problem(name, f"The response has status {response.status_code}.", _READ_LOGS)
        try:
            response.raw.read(decode_content=True)
            hides.append("HTTP/1.1")
        except network.TROUBLE:
            pass
    if site.url.startswith("https:") and http2.post_ends_properly(site.url, path, ticket):
        hides.append("HTTP/2")
    if not hides:
        return ok(name, "A stream that breaks off does not look complete.")
    found = f"A stream that broke off looks complete over {' and '.join(hides)}"
    found += ": users take half a page or half a file for the whole."
    return site.problem(name, found, _CUT_ADVICE)


def _arrivals(url: str, order: Order) -> list[float]:
    """When each piece arrived, by time.monotonic(). Raises TROUBLE."""
    body, arrivals, ticket = b"", list[float](), {TICKET_HEADER: Ticket(order).seal()}
    with network.request("POST", url + reverse("accounts:doctor"), headers=ticket) as response:
        while response.status_code == 200 and (read := response.raw.read1(_READ_BYTES, decode_content=True)):
            body += read
            arrivals += [time.monotonic()] * (body.count(b"piece") - len(arrivals))
    return arrivals


def examine_caching(site: network.DeployedSite) -> Finding:
    """A shared cache that stores a response about a session gives it to other users."""
    name, path = "site.caching", reverse("accounts:session")
    bodies = set[bytes]()
    for _ in range(2):
        with network.request("GET", site.url + path, headers={"Accept": "application/json"}) as response:
            status, headers = response.status_code, response.headers
            if status != 200:
                return problem(name, f"GET {path} gets status {status}.", _READ_LOGS)
            bodies.add(response.raw.read(_READ_BYTES, decode_content=True))
    control, age = headers.get("Cache-Control", ""), headers.get("Age", "0")
    directives = {directive.strip().partition("=")[0].lower() for directive in control.split(",")}
    # Each response of the site has another CSRF token. Varnish adds "Age: 0" also to responses that it does not store.
    is_stored = len(bodies) == 1 or age != "0"
    if is_stored or directives & {"public", "s-maxage"} or not directives & {"private", "no-store"}:
        found = f"A shared cache {'gives' if is_stored else 'may give'} one user's {path} to another user"
        advice = "The proxy or CDN must not change Cache-Control or cache responses of this site."
        return problem(name, f"{found}: Cache-Control is {control!r}, Age is {age}.", advice)
    if "cookie" not in headers.get("Vary", "").lower():
        return warning(name, f"{path} arrives without Vary: Cookie.", "The proxy must not change Vary.")
    return ok(name, f"No shared cache stores {path} (Cache-Control: {control}).")


def examine_plain_http(url: str) -> Finding:
    """Whether `url`, the site's address over plain HTTP, redirects to HTTPS."""
    name = "site.redirect"
    try:
        with network.request("GET", url + reverse("accounts:session")) as response:
            status, location = response.status_code, response.headers.get("Location", "")
    except network.TROUBLE:
        return ok(name, "There is no response over plain HTTP.")
    if 300 <= status < 400 and location.startswith("https://"):
        return ok(name, "Plain HTTP is redirected to HTTPS.")
    advice = "Set SECURE_SSL_REDIRECT=true, or redirect in the proxy. The proxy must overwrite X-Forwarded-Proto."
    return problem(name, f"Plain HTTP gets status {status} instead of a redirect to HTTPS.", advice)
