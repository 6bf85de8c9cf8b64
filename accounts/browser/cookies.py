"""The session cookie: reads it from a request, writes it into a response, and splits it if it is too large.

A sealed session that fits into one cookie is written as one. `split_cookie` splits a larger one into numbered parts:
NAME starts with their count ("3."), and NAME-1, NAME-2 ... follow. Sealed text has no dot, so a count is unambiguous.

A sign-in over an older session is written twice. The second copy, NAME-new-ID, has a part of the session's id in its
name. A late response of the older session does not know that name, so it can neither replace nor delete the copy. If
the two differ, the later sign-in counts. The copy is deleted when the cookie is next written after the leeway. A
session in parts has no copy: twice its size is more than servers accept.
"""

import logging
import math
import re
import time
from collections.abc import Mapping
from typing import Any

from django.http import HttpResponseBase

from accounts.conf import conf
from accounts.device.cookie import cookie_names as device_cookie_names
from accounts.exceptions import ApiMisbehaved
from accounts.session.api_session import ApiSession
from accounts.session.sealing import CannotOpen
from accounts.telemetry.metrics import count_opened_cookie, measure_cookie
from accounts.telemetry.trace import StepKind, add_step

logger = logging.getLogger(__name__)

#: The limit for a cookie with its name and attributes. Browsers silently drop a larger one.
MAX_COOKIE_BYTES = 4096
#: Above this size, proxies and servers with default limits (8 KB for a header) begin to refuse requests.
WARN_FROM_BYTES = 8 * 1024
MAX_SESSION_BYTES = 16 * 1024

_ATTRIBUTES_BYTES = 160
_COUNT_AND_PART = re.compile(r"([2-9])\.(.+)", re.ASCII)
_SHORT_ID = re.compile(r"[0-9a-f]{8}")
_MIN_AGE_SECONDS = 60


def read_cookies(cookies: Mapping[str, str]) -> ApiSession | None:
    """The session that a browser presents; None if there is none, or if no key of this host decrypts it."""
    session = _decrypt(_join_parts(cookies))
    for copy in filter(None, (_decrypt(cookies[name]) for name in _copy_names(cookies))):
        if session is None or (copy.id != session.id and copy.signed_in_at > session.signed_in_at):
            session = copy
    return session


def is_overwritten(cookies: Mapping[str, str], session: ApiSession) -> bool:
    """Whether `session` was read from its second copy, because a late response replaced or deleted the first."""
    if not _copy_names(cookies):
        return False
    first = _decrypt(_join_parts(cookies))
    return first is None or first.id != session.id


def drop_non_ascii_cookies(header: str) -> str:
    """A Cookie header without the cookies whose names are not ASCII.

    Django strips all Unicode spaces from cookie names, but browsers treat them as a part of the name. So another
    subdomain could set a cookie named `__Host-session` plus such a space, and Django would read it as the session
    cookie. No cookie of this site has such a name.
    """
    return ";".join(cookie for cookie in header.split(";") if cookie.partition("=")[0].isascii())


def check_cookie_size(session: ApiSession) -> None:
    """Raises ApiMisbehaved if the tokens of `session` are too large for cookies."""
    size = len(session.seal_for_cookie())
    if size > MAX_SESSION_BYTES:
        raise ApiMisbehaved(
            f"the API's tokens make a cookie of {size} bytes; the limit is {MAX_SESSION_BYTES} bytes "
            "(MAX_SESSION_BYTES in accounts/browser/cookies.py). Ask the API for smaller tokens."
        )


def write_cookies(
    response: HttpResponseBase, session: ApiSession, *, presented: Mapping[str, str], replacing: bool
) -> None:
    """Set the session's cookies on `response`, and delete the `presented` parts and copies that it does not need.

    `replacing` marks a sign-in over an older session. A session that is too large is logged and not written: browsers
    would drop its cookies, and the older cookie is better than none.
    """
    text = session.seal_for_cookie()
    if not _is_size_allowed(session, len(text)):
        return
    measure_cookie(len(text))
    max_age = _max_age(session)
    parts = split_cookie(text, conf.cookie_name)
    for name, value in parts.items():
        set_cookie(response, name, value, max_age)
    for name in _part_names(presented):
        if name not in parts:
            _delete(response, name)
    copy = _copy_name(session)
    is_recent = time.time() - session.signed_in_at <= conf.leeway
    if len(parts) == 1 and (replacing or (is_recent and copy in presented)):
        set_cookie(response, copy, text, max_age)
    elif copy in presented:
        _delete(response, copy)
    if replacing:
        for name in (*_copy_names(presented), *device_cookie_names(presented)):
            _delete(response, name)
    add_step(StepKind.COOKIE_SET, generation=session.generation)


def _is_size_allowed(session: ApiSession, size: int) -> bool:
    """Whether `size` bytes may be written as cookies. Logs sizes that are too large, or that servers may refuse."""
    if size > MAX_SESSION_BYTES:
        logger.error("session %s: %s bytes exceed the limit of %s", session.id, size, MAX_SESSION_BYTES)
        return False
    if size > WARN_FROM_BYTES:
        logger.warning(
            "session %s: its cookies have %s bytes; servers and proxies with default limits refuse headers from %s on",
            session.id,
            size,
            WARN_FROM_BYTES,
        )
    return True


def _max_age(session: ApiSession) -> int | None:
    left = session.tokens.refresh_seconds_left()
    # Zero would delete the cookie. Our clock may be wrong, and only the API decides whether the refresh token expired.
    return None if left is None else max(math.ceil(left), _MIN_AGE_SECONDS)


def delete_cookies(response: HttpResponseBase, *, presented: Mapping[str, str]) -> None:
    """Delete the session cookie with all its parts and copies, and the device cookies."""
    for name in (conf.cookie_name, *_part_names(presented), *_copy_names(presented), *device_cookie_names(presented)):
        _delete(response, name)
    add_step(StepKind.COOKIE_DELETED)


def _decrypt(text: str | None) -> ApiSession | None:
    if not text:
        return None
    try:
        session = ApiSession.open_cookie(text)
    except CannotOpen:
        # The cookie is not deleted: another host may have the key, and this host must not sign its users out.
        logger.debug("no key decrypts the session cookie")
        return None
    count_opened_cookie(text)
    return session


def _join_parts(cookies: Mapping[str, str]) -> str | None:
    name = conf.cookie_name
    first = cookies.get(name, "")
    match = _COUNT_AND_PART.fullmatch(first)
    if match is None:
        return first or None
    rest = [cookies.get(f"{name}-{number}", "") for number in range(1, int(match[1]))]
    return match[2] + "".join(rest) if all(rest) else None


def split_cookie(text: str, name: str) -> dict[str, str]:
    """The cookies that carry `text`: one called `name` if it fits, else numbered parts."""
    room = MAX_COOKIE_BYTES - _ATTRIBUTES_BYTES - len(f"{name}-0=0.")
    if len(text) <= room:
        return {name: text}
    chunks = [text[start : start + room] for start in range(0, len(text), room)]
    return {name: f"{len(chunks)}.{chunks[0]}"} | {
        f"{name}-{number}": chunk for number, chunk in enumerate(chunks) if number
    }


def _part_names(cookies: Mapping[str, str]) -> list[str]:
    """The names of all numbered parts among the cookies, also of parts that no session uses."""
    return [name for number in range(1, 10) if (name := f"{conf.cookie_name}-{number}") in cookies]


def _copy_name(session: ApiSession) -> str:
    return f"{conf.cookie_name}-new-{session.id.hex[:8]}"


def _copy_names(cookies: Mapping[str, str]) -> list[str]:
    """The names of the second copies among the cookies, of any session. Other names with this prefix are ignored: they
    may hold characters that a Set-Cookie header cannot, so they could not be deleted.
    """
    prefix = f"{conf.cookie_name}-new-"
    return [name for name in cookies if name.startswith(prefix) and _SHORT_ID.fullmatch(name, len(prefix))]


def set_cookie(
    response: HttpResponseBase, name: str, value: str, max_age: int | None, *, path: str = "/", samesite: str = ""
) -> None:
    """Set a cookie with the session cookie's attributes, unless `path` or `samesite` differ.

    `max_age` is in seconds: None for a cookie that ends with the browser's run, 0 to delete it.
    """
    same_site: Any = samesite or conf.cookie_samesite  # checked by accounts.E004
    response.set_cookie(
        name, value, max_age=max_age, path=path, secure=conf.cookie_secure, httponly=True, samesite=same_site
    )


def _delete(response: HttpResponseBase, name: str) -> None:
    """With the same attributes: browsers ignore a `__Host-` cookie without Secure, also if it deletes."""
    set_cookie(response, name, "", 0)
