"""Whether cookies as large as a session's survive the way to the browser and back."""

from collections.abc import Callable
from contextlib import suppress
from http.cookies import CookieError, Morsel, SimpleCookie

from accounts.browser.cookies import MAX_COOKIE_BYTES, MAX_SESSION_BYTES, WARN_FROM_BYTES
from accounts.doctor.endpoint import Order, trial_cookies
from accounts.doctor.findings import Finding, Findings, count, ok, problem_in_production, warning
from accounts.doctor.network import TROUBLE
from accounts.doctor.visits import Reply, Visit, send

#: How exactly a limit is found out.
_STEP_BYTES = 128
#: A header that holds 8 KB of session, as servers and proxies with default limits allow, holds names and others too.
_ROOM_BESIDES_BYTES = 512
_RAISE_LIMITS = (
    "Ask the API for smaller tokens, or raise the limits of each server on the way (gunicorn: "
    "--limit-request-field_size; nginx: large_client_header_buffers, proxy_buffer_size)."
)


def examine_cookies(visit: Visit) -> Findings:
    out = _Limit(lambda size: _set_cookies_survive(visit, size))
    back = _Limit(lambda size: _cookies_survive(visit, size))
    yield _set_cookie(visit, out)
    yield _size(visit, out, back)


class _Limit:
    """The largest session that survives, in bytes, on the assumption that a larger one fares no better.

    `refusal` says what became of the smallest that did not; "" where all do.
    """

    def __init__(self, survives: Callable[[int], str]) -> None:
        """`survives` returns "" for a size that does, and else what became of it."""
        self.refusal = survives(MAX_SESSION_BYTES)
        self.size = 0 if self.refusal else MAX_SESSION_BYTES
        too_large = MAX_SESSION_BYTES
        while too_large - self.size > _STEP_BYTES:
            size = (self.size + too_large) // 2
            refusal = survives(size)
            if refusal:
                too_large, self.refusal = size, refusal
            else:
                self.size = size


def _set_cookies_survive(visit: Visit, size: int) -> str:
    try:
        reply = send(visit.url, Order.SET_COOKIES, size=size)
    except TROUBLE as error:
        return f"no answer, {type(error).__name__}"
    return _lost(visit, reply, size) if reply.seen else f"status {reply.status}"


def _cookies_survive(visit: Visit, size: int) -> str:
    expected = trial_cookies(size, visit.cookie_name)
    header = "; ".join(f"{name}={value}" for name, value in expected.items())
    try:
        reply = send(visit.url, Order.LOOK, size=size, headers={"Cookie": header})
    except TROUBLE as error:
        return f"no answer, {type(error).__name__}"
    if not reply.seen:
        return f"status {reply.status}"
    return _missing(len(reply.seen["cookies_arrived"]), len(expected))


def _lost(visit: Visit, reply: Reply, size: int) -> str:
    """What became of the cookies that an answer should have set; "" where all of them arrived whole."""
    expected, arrived = trial_cookies(size, visit.cookie_name), _cookies_in(visit, reply)
    whole = [name for name, value in expected.items() if name in arrived and arrived[name].value == value]
    return _missing(len(whole), len(expected))


def _missing(arrived: int, expected: int) -> str:
    return "" if arrived == expected else f"{arrived} of {expected} cookies arrived whole"


def _set_cookie(visit: Visit, out: _Limit) -> Finding:
    """Several cookies in one answer: a session in parts needs them, and one that comes beside Django's own."""
    name, debug = "site.set-cookie", visit.debug
    size = MAX_SESSION_BYTES
    reply = _answer_that_sets(visit, size)
    if reply is None and out.size:
        size = out.size
        reply = _answer_that_sets(visit, size)
    if reply is None:
        advice = "Look at what the proxies do to Set-Cookie, and how large a header of an answer they let through."
        return problem_in_production(name, f"No answer that sets cookies arrives: {out.refusal}.", advice, debug=debug)
    number = len(trial_cookies(size, visit.cookie_name))
    lost = _lost(visit, reply, size)
    if lost:
        found = f"Set-Cookie is lost on the way: {lost}. Whoever has a session in so many parts is signed out."
        advice = "Each Set-Cookie has to arrive as a header of its own: look for a proxy that folds, cuts or keeps one."
        return problem_in_production(name, found, advice, debug=debug)
    changed = sorted({change for morsel in _cookies_in(visit, reply).values() for change in _changes(visit, morsel)})
    if changed:
        found = f"The attributes of cookies are changed on the way: {', '.join(changed)}."
        return problem_in_production(name, found, "Have the proxy leave Set-Cookie as it is.", debug=debug)
    deleted = _cookies_in(visit, send(visit.url, Order.DELETE_COOKIES, size=size))
    if sum(morsel["max-age"] == "0" for morsel in deleted.values()) < number:
        found = "Cookies can be set and not deleted: signing out leaves them there."
        return problem_in_production(name, found, "Have the proxy leave Set-Cookie as it is.", debug=debug)
    return ok(name, f"{count(number, 'cookie')} in one answer: all arrive, with their attributes, and can be deleted.")


def _answer_that_sets(visit: Visit, size: int) -> Reply | None:
    try:
        reply = send(visit.url, Order.SET_COOKIES, size=size)
    except TROUBLE:
        return None
    return reply if reply.seen else None


def _changes(visit: Visit, morsel: "Morsel[str]") -> list[str]:
    seen = visit.first.seen
    wanted = {"path": "/", "domain": "", "samesite": seen["cookie_samesite"], "httponly": True}
    wanted["secure"] = True if seen["cookie_secure"] else ""
    return [
        f"{attribute} is {morsel[attribute] or 'missing'}"
        for attribute, value in wanted.items()
        if str(morsel[attribute]).lower() != str(value).lower()
    ]


def _cookies_in(visit: Visit, reply: Reply) -> "dict[str, Morsel[str]]":
    """Ours, by name: proxies add some of their own. A header that holds several, or half of one, holds none."""
    cookies: dict[str, Morsel[str]] = {}
    for line in reply.set_cookies:
        parsed: SimpleCookie = SimpleCookie()
        with suppress(CookieError):
            parsed.load(line)
        if len(parsed) == 1:
            cookies.update((name, morsel) for name, morsel in parsed.items() if name.startswith(visit.cookie_name))
    return cookies


def _size(visit: Visit, out: _Limit, back: _Limit) -> Finding:
    name, usable = "site.cookie-size", min(out.size, back.size)
    if usable == MAX_SESSION_BYTES:
        return ok(name, f"Sessions of the largest size that is allowed ({usable} bytes) get through, both ways.")
    limits = [
        f"{whose} more than {limit.size} bytes: {limit.refusal}"
        for whose, limit in (("answers that set", out), ("requests that bring", back))
        if limit.refusal
    ]
    found = f"Sessions of up to {usable} bytes get through, of {MAX_SESSION_BYTES} that are allowed"
    found += f" ({'; '.join(limits)})."
    if usable >= WARN_FROM_BYTES - _ROOM_BESIDES_BYTES:
        return ok(name, found, f"A larger one would lock its user out. {_RAISE_LIMITS}")
    if usable >= MAX_COOKIE_BYTES:
        return warning(name, found, _RAISE_LIMITS)
    return problem_in_production(name, found, _RAISE_LIMITS, debug=visit.debug)
