"""Judges whether a request comes from the device that its session is bound to. Makes no query."""

import logging
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from uuid import UUID

from django.http import HttpRequest, HttpResponseBase

from accounts.browser.cookies import set_cookie
from accounts.conf import conf
from accounts.device.cookie import cookie_name, cookie_seconds, read_cookie, seal_cookie
from accounts.device.protocol import REGISTRATION_HEADER, registration_header
from accounts.history.events import record_event
from accounts.models import EventKind
from accounts.session.api_session import ApiSession
from accounts.telemetry.metrics import count_device
from accounts.telemetry.trace import add_step

logger = logging.getLogger(__name__)

#: A session's timeline has one event of a missing proof in this time, for each process.
_EVENT_SECONDS = 3600.0
_MAX_TOLD = 1000
_OFFER_SECONDS = 600

_told: "OrderedDict[UUID, float]" = OrderedDict()


@dataclass(frozen=True, slots=True)
class Judgement:
    """`session` is that of the cookie, with the key of its device. `has_key_in_cookie`: whether the cookie has it."""

    session: ApiSession
    is_proven: bool
    has_key_in_cookie: bool


def judge_device(request: HttpRequest, session: ApiSession, *, waited: float) -> Judgement:
    """Whether the request has the proof that its session needs. It `waited` so many seconds since it arrived.

    A session without a key needs none. If it has a device cookie, it takes the key from there: the response with the
    bound session got lost, or one that was under way has replaced it.
    """
    proof = read_cookie(request.COOKIES, session.id)
    is_valid = proof is not None and time.time() - waited < proof.expires_at
    if not session.device:
        if proof is None or not is_valid:
            return Judgement(session, is_proven=True, has_key_in_cookie=False)
        return Judgement(replace(session, device=proof.key), is_proven=True, has_key_in_cookie=False)
    is_proven = proof is not None and is_valid and proof.key == session.device
    return Judgement(session, is_proven=is_proven or not conf.device_binding, has_key_in_cookie=True)


def can_bind(request: HttpRequest) -> bool:
    """Browsers make keys for sites over HTTPS only."""
    return conf.device_binding and conf.cookie_secure and request.is_secure()


def is_from_another_site(request: HttpRequest) -> bool:
    """Whether another site or subdomain led the browser here: a link in an e-mail, or the way back from a provider.

    For such a request, browsers neither register a key nor renew a proof, which they do for our own origin only. From
    another site, our SameSite cookies would be missing, too.
    """
    return request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site")


def is_loaded_again(request: HttpRequest) -> bool:
    """Whether a page without a proof makes the browser load it again. The second request is from our own origin, so the
    browser renews the proof for it. A form's POST is not sent twice.
    """
    return request.method == "GET" and is_from_another_site(request)


def offer_binding(
    request: HttpRequest, response: HttpResponseBase, session: ApiSession | None, *, is_due: bool
) -> None:
    """Ask the browser to make a key for the session, if it has none.

    `is_due` is for one response to a sign-in or a rotation: a browser makes a key for each response that asks. After a
    request from another site, a cookie lets the next page ask. The scripts of a page would ask several times at once.
    """
    name = f"{conf.cookie_name}-device-offer"
    is_late = name in request.COOKIES and request.headers.get("Sec-Fetch-Mode") == "navigate"
    if not (is_due or is_late) or session is None or not can_bind(request):
        return
    if not session.device and is_from_another_site(request):
        if is_due:
            set_cookie(response, name, "1", _OFFER_SECONDS)
        return
    if not session.device:
        response[REGISTRATION_HEADER] = registration_header(session.id)
    if is_late:
        set_cookie(response, name, "", 0)


def set_device_cookie(response: HttpResponseBase, session_id: UUID, key: str) -> None:
    set_cookie(response, cookie_name(session_id), seal_cookie(session_id, key), cookie_seconds())


def record_unproven(session: ApiSession, address: str) -> None:
    """Count a request without the proof that its session needs."""
    count_device("unproven")
    now = time.monotonic()
    last = _told.pop(session.id, None)
    if last is not None and now - last < _EVENT_SECONDS:
        _told[session.id] = last
        add_step(EventKind.UNPROVEN)
        return
    _told[session.id] = now
    while len(_told) > _MAX_TOLD:
        _told.popitem(last=False)
    record_event(
        EventKind.UNPROVEN, session.id, user_id=session.user.id, generation=session.generation, address=address
    )
