"""Whether cookies as large as a session's arrive, from the site and at the site."""

from collections.abc import Callable
from contextlib import suppress
from http.cookies import CookieError, Morsel, SimpleCookie

from accounts.browser.cookies import MAX_COOKIE_BYTES, MAX_SESSION_BYTES, WARN_FROM_BYTES
from accounts.doctor.deployed_site import DeployedSite, SiteResponse, send_order
from accounts.doctor.endpoint import Order, trial_cookies
from accounts.doctor.findings import Finding, count, ok, warning
from accounts.doctor.network import TROUBLE

#: The precision of a limit that is found.
_STEP_BYTES = 128
#: A header of 8 KB, the default limit of servers and proxies, holds cookie names and other cookies too.
_ROOM_BESIDES_BYTES = 512
_RAISE_LIMITS = (
    "The API should issue smaller tokens. Or raise the limits of each server on the way (gunicorn: "
    "--limit-request-field_size; nginx: large_client_header_buffers, proxy_buffer_size)."
)
_KEEP_SET_COOKIE = "The proxy must not change Set-Cookie."


def examine_set_cookie(site: DeployedSite) -> Finding:
    """Several cookies must arrive in one response: the parts of a large session, and Django's own cookies."""
    name, size = "site.set-cookie", MAX_SESSION_BYTES
    response, failure = _set_cookies(site, size)
    if response is None:
        size, failure = _find_limit(lambda size: _set_cookies(site, size)[1])
        if not size:
            advice = "Check what the proxies do to Set-Cookie, and their limit for the size of response headers."
            return site.problem(name, f"No response that sets cookies arrives: {failure}.", advice)
        response, failure = _set_cookies(site, size)
    if response is None or failure:
        found = f"Set-Cookie is lost on the way: {failure}. Users with a session of so many parts are signed out."
        advice = "Each Set-Cookie must arrive as its own header. Look for a proxy that joins, cuts or drops them."
        return site.problem(name, found, advice)
    changes = {change for morsel in _received_cookies(site, response).values() for change in _changes(site, morsel)}
    if changes:
        found = f"Attributes of cookies change on the way: {', '.join(sorted(changes))}."
        return site.problem(name, found, _KEEP_SET_COOKIE)
    number = len(_trial_cookies(site, size))
    deleted = _received_cookies(site, send_order(site.url, Order.DELETE_COOKIES, size=size))
    if sum(morsel["max-age"] == "0" for morsel in deleted.values()) < number:
        return site.problem(name, "Cookies cannot be deleted: signing out leaves them there.", _KEEP_SET_COOKIE)
    return ok(name, f"{count(number, 'cookie')} in one response arrive, keep their attributes, and can be deleted.")


def examine_cookie_size(site: DeployedSite) -> Finding:
    name = "site.cookie-size"
    limits = {
        "responses that set": _find_limit(lambda size: _set_cookies(site, size)[1]),
        "requests that bring": _find_limit(lambda size: _send_cookies(site, size)),
    }
    usable = min(size for size, _ in limits.values())
    if usable == MAX_SESSION_BYTES:
        return ok(name, f"Sessions of the largest allowed size ({usable} bytes) arrive, both ways.")
    failures = [f"{what} more than {size} bytes: {failure}" for what, (size, failure) in limits.items() if failure]
    found = f"Sessions of up to {usable} bytes arrive, but {MAX_SESSION_BYTES} are allowed ({'; '.join(failures)})."
    if usable >= WARN_FROM_BYTES - _ROOM_BESIDES_BYTES:
        return ok(name, found, f"A larger session would lock its user out. {_RAISE_LIMITS}")
    if usable >= MAX_COOKIE_BYTES:
        return warning(name, found, _RAISE_LIMITS)
    return site.problem(name, found, _RAISE_LIMITS)


def _find_limit(try_size: Callable[[int], str]) -> tuple[int, str]:
    """The largest session that arrives, in bytes, and the failure of a larger one; "" if none fails.

    `try_size` returns the failure of a size. A larger session is assumed to fail too.
    """
    failure = try_size(MAX_SESSION_BYTES)
    if not failure:
        return MAX_SESSION_BYTES, ""
    arrives, too_large = 0, MAX_SESSION_BYTES
    while too_large - arrives > _STEP_BYTES:
        size = (arrives + too_large) // 2
        if result := try_size(size):
            too_large, failure = size, result
        else:
            arrives = size
    return arrives, failure


def _trial_cookies(site: DeployedSite, size: int) -> dict[str, str]:
    return trial_cookies(size, str(site.first.seen["cookie_name"]))


def _set_cookies(site: DeployedSite, size: int) -> tuple[SiteResponse | None, str]:
    """The site's response that sets the trial cookies, None without one; and the failure, "" if all of them arrive."""
    try:
        response = send_order(site.url, Order.SET_COOKIES, size=size)
    except TROUBLE as error:
        return None, f"no response, {type(error).__name__}"
    if not response.seen:
        return None, f"status {response.status}"
    expected, received = _trial_cookies(site, size), _received_cookies(site, response)
    whole = sum(name in received and received[name].value == value for name, value in expected.items())
    return response, _loss(whole, len(expected))


def _send_cookies(site: DeployedSite, size: int) -> str:
    """The failure of a request with the trial cookies; "" if all of them arrive at the site."""
    expected = _trial_cookies(site, size)
    header = "; ".join(f"{name}={value}" for name, value in expected.items())
    try:
        response = send_order(site.url, Order.LOOK, size=size, headers={"Cookie": header})
    except TROUBLE as error:
        return f"no response, {type(error).__name__}"
    if not response.seen:
        return f"status {response.status}"
    return _loss(len(response.seen["cookies_arrived"]), len(expected))


def _loss(arrived: int, expected: int) -> str:
    return "" if arrived == expected else f"{arrived} of {expected} cookies arrived whole"


def _changes(site: DeployedSite, morsel: "Morsel[str]") -> list[str]:
    seen = site.first.seen
    wanted = {"path": "/", "domain": "", "samesite": seen["cookie_samesite"], "httponly": True}
    wanted["secure"] = True if seen["cookie_secure"] else ""
    return [
        f"{attribute} is {morsel[attribute] or 'missing'}"
        for attribute, value in wanted.items()
        if str(morsel[attribute]).lower() != str(value).lower()
    ]


def _received_cookies(site: DeployedSite, response: SiteResponse) -> "dict[str, Morsel[str]]":
    """The session's, by name: proxies add cookies of their own. A header with several cookies, or with half of one,
    counts as none."""
    cookies: dict[str, Morsel[str]] = {}
    for line in response.set_cookies:
        parsed: SimpleCookie = SimpleCookie()
        with suppress(CookieError):
            parsed.load(line)
        if len(parsed) == 1:
            cookies.update(parsed)
    return {name: morsel for name, morsel in cookies.items() if name.startswith(str(site.first.seen["cookie_name"]))}
