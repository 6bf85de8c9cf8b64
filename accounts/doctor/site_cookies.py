"""Whether cookies as large as a session's arrive, from the site and at the site."""

from bisect import bisect_left
from contextlib import suppress
from http.cookies import CookieError, Morsel, SimpleCookie

from accounts.browser.cookies import MAX_COOKIE_BYTES, MAX_SESSION_BYTES, WARN_FROM_BYTES
from accounts.doctor.endpoint import TRIAL_SUFFIX, Order, trial_cookies
from accounts.doctor.findings import Finding, count, ok, warning
from accounts.doctor.network import TROUBLE, DeployedSite, SiteResponse, send_order

#: A limit is found with this precision.
_STEP_BYTES = 256
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
    response, failure = _try_cookies(site, Order.SET_COOKIES, size)
    if response is None:
        size, failure = _find_limit(site, Order.SET_COOKIES)
        if not size:
            advice = "Check what the proxies do to Set-Cookie, and their limit for the size of response headers."
            return site.problem(name, f"No response that sets cookies arrives: {failure}.", advice)
        response, failure = _try_cookies(site, Order.SET_COOKIES, size)
    if response is None or failure:
        found = f"Set-Cookie is lost on the way: {failure}. Users with a session of so many parts are signed out."
        advice = "Each Set-Cookie must arrive as its own header. Look for a proxy that joins, cuts or drops them."
        return site.problem(name, found, advice)
    cookies = _received_cookies(site, response)
    if changes := sorted({change for cookie in cookies.values() for change in _changes(site, cookie)}):
        return site.problem(name, f"Attributes of cookies change on the way: {', '.join(changes)}.", _KEEP_SET_COOKIE)
    deleted = _received_cookies(site, send_order(site.url, Order.DELETE_COOKIES, size=size))
    if sum(cookie["max-age"] == "0" for cookie in deleted.values()) < len(cookies):
        return site.problem(name, "Cookies cannot be deleted: signing out leaves them there.", _KEEP_SET_COOKIE)
    found = f"{count(len(cookies), 'cookie')} in one response arrive, keep their attributes, and can be deleted."
    return ok(name, found)


def examine_cookie_size(site: DeployedSite) -> Finding:
    name = "site.cookie-size"
    limits = {
        "responses that set": _find_limit(site, Order.SET_COOKIES),
        "requests that bring": _find_limit(site, Order.LOOK),
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


def _find_limit(site: DeployedSite, order: Order) -> tuple[int, str]:
    """The largest session that arrives, in bytes, and the failure of a larger one; "" if none fails.

    A session that is larger than one that fails is assumed to fail too.
    """
    if not _try_cookies(site, order, MAX_SESSION_BYTES)[1]:
        return MAX_SESSION_BYTES, ""
    sizes = range(0, MAX_SESSION_BYTES + 1, _STEP_BYTES)
    first_failure = bisect_left(
        sizes, True, lo=1, hi=len(sizes) - 1, key=lambda size: bool(_try_cookies(site, order, size)[1])
    )
    return sizes[first_failure - 1], _try_cookies(site, order, sizes[first_failure])[1]


def _try_cookies(site: DeployedSite, order: Order, size: int) -> tuple[SiteResponse | None, str]:
    """The response with the trial cookies, or for LOOK the response to a request with them; None if there is none.
    And the failure, "" if all cookies arrive."""
    expected = trial_cookies(size, str(site.first.seen["cookie_name"]))
    looks = order is Order.LOOK
    headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in expected.items())} if looks else {}
    try:
        response = send_order(site.url, order, size=size, headers=headers)
    except TROUBLE as error:
        return None, f"no response, {type(error).__name__}"
    if not response.seen:
        return None, f"status {response.status}"
    values = {name: cookie.value for name, cookie in _received_cookies(site, response).items()}
    arrived = response.seen["cookies_arrived"] if looks else expected.items() & values.items()
    whole = len(arrived) == len(expected)
    return response, "" if whole else f"{len(arrived)} of {len(expected)} cookies arrived whole"


def _changes(site: DeployedSite, cookie: "Morsel[str]") -> list[str]:
    seen = site.first.seen
    wanted = {"path": "/", "domain": "", "samesite": seen["cookie_samesite"], "httponly": True}
    wanted["secure"] = True if seen["cookie_secure"] else ""
    return [
        f"{attribute} is {cookie[attribute] or 'missing'}"
        for attribute, value in wanted.items()
        if str(cookie[attribute]).lower() != str(value).lower()
    ]


def _received_cookies(site: DeployedSite, response: SiteResponse) -> "dict[str, Morsel[str]]":
    """The trial cookies, by name: proxies add cookies of their own. A header with several cookies, or with half of one,
    counts as none."""
    cookies: dict[str, Morsel[str]] = {}
    for line in response.set_cookies:
        parsed: SimpleCookie = SimpleCookie()
        with suppress(CookieError):
            parsed.load(line)
        if len(parsed) == 1:
            cookies.update(parsed)
    prefix = site.first.seen["cookie_name"] + TRIAL_SUFFIX
    return {name: cookie for name, cookie in cookies.items() if name.startswith(prefix)}
