"""The session cookie: in from the browser, out to the browser.

A sealed session that fits one cookie is one. A larger one is cut into numbered parts: NAME starts with how many there
are ("3."), NAME-1, NAME-2 ... follow. Sealed text has no dot in it, so the two cannot be mistaken for each other.

A sign-in over an older session is written twice: the second copy has some of the session's id in its name, NAME-new-ID.
An answer of an older session that is still on its way knows nothing of that name, so it can neither replace nor delete
it, and where the two differ the younger sign-in counts. The next time that the cookie is written, after the leeway, the
second copy goes. (A session in parts has none: twice their size is more than servers take.)
"""

import logging
import math
import re
import time
from collections.abc import Mapping

from django.http import HttpResponseBase

from accounts.conf import conf
from accounts.exceptions import ApiMisbehaved
from accounts.session.api_session import ApiSession
from accounts.session.sealing import CannotOpen
from accounts.telemetry.metrics import count_opened_cookie, measure_cookie
from accounts.telemetry.trace import StepKind, add_step

logger = logging.getLogger(__name__)

#: Browsers drop a cookie that is larger, with its name and attributes, and say nothing.
MAX_COOKIE_BYTES = 4096
#: Above this, proxies and servers with default limits (8 KB a header) begin to refuse requests.
WARN_FROM_BYTES = 8 * 1024
MAX_SESSION_BYTES = 16 * 1024

_ATTRIBUTES_BYTES = 160
_COUNTED = re.compile(r"([2-9])\.(.+)", re.ASCII)
_ID = re.compile(r"[0-9a-f]{8}")
_SHORTEST_LIFE_SECONDS = 60


def read_cookies(cookies: Mapping[str, str]) -> ApiSession | None:
    """The session that a browser presents; None where there is none, or none that a key of ours opens."""
    session = _open(_join_parts(cookies))
    for spare in filter(None, (_open(cookies[name]) for name in _spare_names(cookies))):
        if session is None or (spare.id != session.id and spare.signed_in_at > session.signed_in_at):
            session = spare
    return session


def is_overwritten(cookies: Mapping[str, str], session: ApiSession) -> bool:
    """Whether `session` was read from its second copy, because a late answer replaced or deleted the first."""
    if not _spare_names(cookies):
        return False
    first = _open(_join_parts(cookies))
    return first is None or first.id != session.id


def drop_non_ascii_cookies(header: str) -> str:
    """A Cookie header without the cookies whose names are not ASCII.

    Django strips the names of cookies, of all that Unicode calls a space. A browser takes such a space for a part of
    the name: another subdomain may set one that only looks like `__Host-session` behind it, and it would come in here
    as ours. No cookie of this site has a name like that.
    """
    return ";".join(cookie for cookie in header.split(";") if cookie.partition("=")[0].isascii())


def check_cookie_size(session: ApiSession) -> None:
    """Raises ApiMisbehaved where the tokens of `session` are too large to be kept in cookies."""
    size = len(session.seal_for_cookie())
    if size > MAX_SESSION_BYTES:
        raise ApiMisbehaved(
            f"the API's tokens make a cookie of {size} bytes; the limit is {MAX_SESSION_BYTES} bytes "
            "(MAX_SESSION_BYTES in accounts/cookies.py). Ask the API for smaller tokens."
        )


def write_cookies(
    response: HttpResponseBase, session: ApiSession, *, presented: Mapping[str, str], replacing: bool
) -> None:
    """Set the session on `response`, and delete the parts among the `presented` cookies that it no longer needs.

    `replacing` says that this is a sign-in over an older session. A session that is too large is logged and not
    written: what the browser has is better than what it would drop.
    """
    text = session.seal_for_cookie()
    if len(text) > MAX_SESSION_BYTES:
        logger.error("session %s: %s bytes exceed the limit of %s", session.id, len(text), MAX_SESSION_BYTES)
        return
    if len(text) > WARN_FROM_BYTES:
        logger.warning(
            "session %s: its cookies have %s bytes; servers and proxies with default limits refuse headers from %s on",
            session.id,
            len(text),
            WARN_FROM_BYTES,
        )
    left = session.tokens.refresh_seconds_left()
    # Never zero: that would delete the cookie, and a clock may be off. Whether the token is dead is the API's to say.
    max_age = None if left is None else max(math.ceil(left), _SHORTEST_LIFE_SECONDS)
    measure_cookie(len(text))
    parts = split_cookie(text, conf.cookie_name)
    for name, value in parts.items():
        set_cookie(response, name, value, max_age)
    for name in _part_names(presented):
        if name not in parts:
            _delete(response, name)
    spare = _spare_name(session)
    is_young = time.time() - session.signed_in_at <= conf.leeway
    if len(parts) == 1 and (replacing or (is_young and spare in presented)):
        set_cookie(response, spare, text, max_age)
    elif spare in presented:
        _delete(response, spare)
    if replacing:
        for name in _spare_names(presented):
            _delete(response, name)
    add_step(StepKind.COOKIE_SET, generation=session.generation)


def delete_cookies(response: HttpResponseBase, *, presented: Mapping[str, str]) -> None:
    """Delete the session cookie with all its parts and copies."""
    for name in (conf.cookie_name, *_part_names(presented), *_spare_names(presented)):
        _delete(response, name)
    add_step(StepKind.COOKIE_DELETED)


def _open(text: str | None) -> ApiSession | None:
    if not text:
        return None
    try:
        session = ApiSession.open_cookie(text)
    except CannotOpen:
        # Left alone: another host may hold the key, and this one must not sign its users out.
        logger.debug("a session cookie that no key opens")
        return None
    count_opened_cookie(text)
    return session


def _join_parts(cookies: Mapping[str, str]) -> str | None:
    name = conf.cookie_name
    first = cookies.get(name, "")
    counted = _COUNTED.fullmatch(first)
    if counted is None:
        return first or None
    rest = [cookies.get(f"{name}-{number}", "") for number in range(1, int(counted[1]))]
    return counted[2] + "".join(rest) if all(rest) else None


def split_cookie(text: str, name: str) -> dict[str, str]:
    """The cookies that hold `text`: one called `name` where it fits, else numbered parts."""
    room = MAX_COOKIE_BYTES - _ATTRIBUTES_BYTES - len(f"{name}-0=0.")
    if len(text) <= room:
        return {name: text}
    chunks = [text[start : start + room] for start in range(0, len(text), room)]
    return {name: f"{len(chunks)}.{chunks[0]}"} | {
        f"{name}-{number}": chunk for number, chunk in enumerate(chunks) if number
    }


def _part_names(cookies: Mapping[str, str]) -> list[str]:
    """The numbered parts among the cookies, whether or not they belong to anything."""
    return [name for number in range(1, 10) if (name := f"{conf.cookie_name}-{number}") in cookies]


def _spare_name(session: ApiSession) -> str:
    return f"{conf.cookie_name}-new-{session.id.hex[:8]}"


def _spare_names(cookies: Mapping[str, str]) -> list[str]:
    """The second copies among the cookies, whichever sessions' they are. Names that are not ours may be no names at
    all, and could not be written back to delete them.
    """
    prefix = f"{conf.cookie_name}-new-"
    return [name for name in cookies if name.startswith(prefix) and _ID.fullmatch(name, len(prefix))]


def set_cookie(response: HttpResponseBase, name: str, value: str, max_age: int | None) -> None:
    """Set a cookie with the attributes of the session's. `max_age` is in seconds: None for as long as the browser runs,
    0 to delete it.
    """
    response.set_cookie(
        name,
        value,
        max_age=max_age,
        path="/",
        secure=conf.cookie_secure,
        httponly=True,
        samesite=conf.cookie_samesite,  # type: ignore[arg-type]  # checked by accounts.E005
    )


def _delete(response: HttpResponseBase, name: str) -> None:
    """As it was set: browsers ignore a `__Host-` cookie without Secure, also one that deletes."""
    set_cookie(response, name, "", 0)
