"""The deployed site, asked over the network: is it there, and what do the proxies in front make of what passes them?"""

from collections.abc import Callable
from urllib.parse import urlsplit

from accounts.conf import conf
from accounts.doctor.clocks import UPDATE_CLOCK_SECONDS, describe_difference, difference_from_date
from accounts.doctor.endpoint import Order
from accounts.doctor.findings import Finding, Findings, Status, ok, problem, warning, worst
from accounts.doctor.network import TROUBLE, examine_server, origin_of, trust_of_this_machine
from accounts.doctor.site_cookies import examine_cookies
from accounts.doctor.site_requests import (
    PROXY_ADVICE,
    examine_address,
    examine_caching,
    examine_redirect,
    examine_scheme,
)
from accounts.doctor.site_streams import examine_streams
from accounts.doctor.visits import Reply, Visit, send
from accounts.session.sealing import key_ids


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
        "scheme": examine_scheme,
        "address": examine_address,
        "set-cookie": examine_cookies,
        "streams": examine_streams,
        "caching": examine_caching,
        "redirect": examine_redirect,
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
        return problem(name, found, PROXY_ADVICE)
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
    if seen["debug"] and not visit.debug:
        found = "DEBUG is on, and everybody can reach the site: its error pages show its inside."
        yield problem("site.debug", found, "Set DEBUG=false.")
    here = {"keys": key_ids(), "cookie_name": conf.cookie_name, "trusted_proxies": conf.trusted_proxy_count}
    differing = [name.replace("_", " ") for name, value in here.items() if seen[name] != value]
    if differing:
        found = f"This command runs with other settings than the site: {', '.join(differing)}."
        yield warning("site.settings", found, "Run it with the site's, and give all hosts the same.")
    measured = difference_from_date(
        visit.first.headers.get("Date"), sent_at=visit.first.sent_at, received_at=visit.first.received_at
    )
    if measured and abs(measured[0]) > UPDATE_CLOCK_SECONDS:
        words = describe_difference("The site's clock", *measured)
        yield warning("site.clock", words, "Let both keep time with NTP: hand-offs are good for a minute.")


def _without_default_port(host: str) -> str:
    return host.removesuffix(":443").removesuffix(":80")
