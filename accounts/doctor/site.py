"""The deployed site, asked over the network: what the proxies in front of it make of requests and answers."""

import socket
from collections.abc import Callable
from ipaddress import ip_address
from urllib.parse import urlsplit

from django.urls import reverse

from accounts.conf import conf
from accounts.doctor.clocks import HAND_OFF_CLOCK_SECONDS, describe_difference, difference_from_date
from accounts.doctor.endpoint import Order
from accounts.doctor.findings import Finding, Findings, Status, ok, problem, problem_in_production, warning, worst
from accounts.doctor.network import CONNECT_SECONDS, TROUBLE, ask, examine_server, origin_of, trust_of_this_machine
from accounts.doctor.site_cookies import examine_cookies
from accounts.doctor.site_streams import examine_streams
from accounts.doctor.visits import Reply, Visit, send
from accounts.sealing import key_ids

#: TEST-NET-3 (RFC 5737): nobody's address.
_FORGED_ADDRESS = "203.0.113.77"
_PROXY_ADVICE = (
    "The proxy has to set X-Forwarded-Proto itself, whatever the browser sent, and TRUSTED_PROXY_COUNT has to count it."
)


def examine_site(url: str) -> Findings:
    """`url` is the site's public address, without a slash at the end."""
    reached = list(examine_server("site", url, trust_of_this_machine()))
    yield from reached
    if worst(reached) is Status.PROBLEM:
        return
    try:
        first = send(url, Order.LOOK)
    except TROUBLE as error:
        yield problem(
            "site.answer", f"There is no answer: {type(error).__name__}.", "Look at the logs of proxy and site."
        )
        return
    if not first.seen:
        yield _no_doctor(url, first)
        return
    visit = Visit(url, first)
    parts: dict[str, Callable[[Visit], Findings]] = {
        "answer": _answer,
        "scheme": _scheme,
        "address": _address,
        "set-cookie": examine_cookies,
        "streams": examine_streams,
        "caching": _caching,
        "redirect": _redirect,
    }
    for name, examine in parts.items():
        try:
            yield from examine(visit)
        except TROUBLE as error:
            found = f"There was no answer any more: {type(error).__name__}."
            yield problem(f"site.{name}", found, "Look at the logs of proxy and site.")


def _no_doctor(url: str, reply: Reply) -> Finding:
    """Why the site's own part of the doctor did not answer."""
    name, status = "site.answer", reply.status
    if 300 <= status < 400:
        return _redirected(url, reply.headers.get("Location", ""))
    if status == 404:
        measured = difference_from_date(reply.headers.get("Date"), sent_at=reply.sent_at, received_at=reply.received_at)
        clock = f" {describe_difference('Its clock', *measured)}" if measured else ""
        found = f"The site takes this command's ticket for none (404).{clock}"
        advice = (
            "Run the command with the settings of the deployed site: the ticket is sealed with its keys, and good for "
        )
        return problem(name, found, f"{advice}a minute. A release without this command answers the same.")
    if status == 400:
        return problem(name, "It answers 400.", f"Is {urlsplit(url).hostname} in ALLOWED_HOSTS of the site?")
    if status in (401, 403):
        return problem(name, f"Something in front of the site lets nobody in ({status}).", "Ask from where users do.")
    if status == 200:
        return problem(name, "Something other than this site answers.", "Look at the address.")
    return problem(name, f"It answers {status}.", "Look at the logs of proxy and site.")


def _redirected(url: str, location: str) -> Finding:
    name, there = "site.answer", origin_of(location)
    if urlsplit(url).scheme == "https" and there in ("", origin_of(url)):
        found = "The site takes HTTPS for plain HTTP, and redirects to the same address without end."
        return problem(name, found, _PROXY_ADVICE)
    return problem(name, f"It redirects to {there or 'another address'}.", f"Ask there: --url {there or url}")


def _answer(visit: Visit) -> Findings:
    seen, url = visit.first.seen, urlsplit(visit.url)
    port = "" if url.port in (None, {"http": 80, "https": 443}[url.scheme]) else f":{url.port}"
    host = f"{url.hostname}{port}"
    if _without_default_port(str(seen["host"])) == host:
        yield ok("site.answer", f"The site answers, as {host}.")
    else:
        yield warning(
            "site.answer",
            f"The site is asked for {host} and sees {seen['host']}: its redirects lead there, and it takes its own "
            "forms for those of another site.",
            "Have the proxy pass the Host header on.",
        )
    here = {"keys": key_ids(), "cookie_name": conf.cookie_name, "trusted_proxies": conf.trusted_proxy_count}
    differing = [name.replace("_", " ") for name, value in here.items() if seen[name] != value]
    if differing:
        found = f"This command runs with other settings than the site: {', '.join(differing)}."
        yield warning("site.settings", found, "Run it with the site's, and give all hosts the same.")
    measured = difference_from_date(
        visit.first.headers.get("Date"), sent_at=visit.first.sent_at, received_at=visit.first.received_at
    )
    if measured and abs(measured[0]) > HAND_OFF_CLOCK_SECONDS:
        words = describe_difference("The site's clock", *measured)
        yield warning("site.clock", words, "Let both keep time with NTP: hand-offs are good for a minute.")


def _without_default_port(host: str) -> str:
    return host.removesuffix(":443").removesuffix(":80")


def _scheme(visit: Visit) -> Findings:
    name, seen = "site.scheme", visit.first.seen
    secure = bool(seen["secure"])
    if urlsplit(visit.url).scheme == "https":
        if secure:
            yield ok(name, "The site knows that it was asked over HTTPS.")
        else:
            said = f"X-Forwarded-Proto is {seen['forwarded_proto']!r}" if seen["forwarded_proto"] else "nobody says so"
            yield problem(name, f"The site takes HTTPS for plain HTTP: {said}.", _PROXY_ADVICE)
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


def _address(visit: Visit) -> Findings:
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
        found = f"All visitors have the address of a proxy, {address} ({counts})."
        yield problem_in_production(name, found, set_it, debug=visit.debug)
    elif entries < trusted:
        found = f"The site expects more proxies than tell an address ({counts}): {address} may be one of theirs."
        yield warning(name, found, f"Each proxy has to add the address that it saw, or: {set_it}")
    elif not entries and _is_private(address) and address != _own_address(visit.url):
        found = f"This command has the address {address} for the site, which is one of a private network."
        yield warning(name, found, "If that is a proxy's, have it set X-Forwarded-For, and set TRUSTED_PROXY_COUNT.")
    else:
        yield ok(name, f"This command has the address {address or '(none)'} for the site ({counts}).")


def _is_private(address: str) -> bool:
    try:
        return ip_address(address).is_private
    except ValueError:
        return False


def _own_address(url: str) -> str:
    """The address that this host has on the way to the site."""
    pieces = urlsplit(url)
    port = pieces.port or (443 if pieces.scheme == "https" else 80)
    with socket.create_connection((pieces.hostname or "", port), timeout=CONNECT_SECONDS) as connection:
        return str(connection.getsockname()[0])


def _caching(visit: Visit) -> Findings:
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


def _redirect(visit: Visit) -> Findings:
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
