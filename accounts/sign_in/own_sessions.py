"""The page of a user's own sessions, where they end one of them or all others."""

import math
from uuid import UUID

from django.contrib import messages
from django.db import router
from django.db.models import Case, Value, When
from django.db.models.functions import Coalesce, Greatest
from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from accounts.api_client import ApiRequest
from accounts.browser.error_responses import bad_request_response, is_htmx, is_script
from accounts.browser.user_agent import describe_browser
from accounts.conf import conf
from accounts.exceptions import in_words
from accounts.models import EndReason, SessionRecord, SessionRecordQuerySet, user_key
from accounts.rotation.database import database_errors_as_unavailable
from accounts.rotation.ending import end_session, fetch_active_record
from accounts.session.api_session import ApiSession
from accounts.sign_in.views import logout

MAX_LISTED = 50
#: Each costs a statement.
MAX_ENDED_AT_ONCE = 1000


@require_http_methods(["GET", "HEAD", "POST"])
def sessions(request: ApiRequest) -> HttpResponse:
    """The user's active sessions. POST ends one of them (`end=<its id>`) or all others (`end=others`).

    A script gets JSON. A session that has ended can neither list nor end others, so its record is checked first.
    """
    session = request.api_session.require_verified()
    with database_errors_as_unavailable():
        own = fetch_active_record(session, request.api_session.presented)
        if request.method != "POST":
            return _list(request, session, own)
        target = request.POST.get("end", "").strip()
        if not target:
            return bad_request_response(request, "Say which session to end: end=<id of the session> or end=others.")
        if target == "others":
            return _end_others(request, session, own)
        return _end_one(request, session, own, target)


def _active_sessions(own: SessionRecord) -> SessionRecordQuerySet:
    """The session `own`, and the other active sessions of the same user at the same API."""
    # From the database that is written to: a replica would still have the sessions that have just ended.
    records = SessionRecord.objects.using(router.db_for_write(SessionRecord))
    return records.of_same_user(own).active() | records.not_ended(own.pk)


def _list(request: ApiRequest, session: ApiSession, own: SessionRecord) -> HttpResponse:
    used = [Coalesce(field, "signed_in_at") for field in ("last_rotated_at", "confirmed_at")]
    active = _active_sessions(own)
    listed = list(
        active.annotate(last_used_at=Greatest("signed_in_at", *used))
        .order_by(Case(When(pk=own.pk, then=Value(0)), default=Value(1)), "-last_used_at", "pk")
        .values("id", "user_agent", "address", "signed_in_at", "last_used_at", "device_key")[: MAX_LISTED + 1]
    )
    more = active.count() - MAX_LISTED if len(listed) > MAX_LISTED else 0
    rows = [
        {
            "id": row["id"],
            "current": row["id"] == own.pk,
            "browser": describe_browser(row["user_agent"]),
            "address": row["address"],
            "signed_in_at": row["signed_in_at"],
            "last_used_at": row["last_used_at"],
            "is_bound_to_device": bool(row["device_key"]),
        }
        for row in listed[:MAX_LISTED]
    ]
    if _is_for_script(request):
        return JsonResponse({"sessions": rows, "more": more})
    context = {
        "sessions": rows,
        "more": more,
        "when": _when_it_ends(session, "A browser whose session you end"),
        "is_user_known": bool(user_key(session.user)),
        "is_alone": not own.user_key,
    }
    return render(request, "accounts/sessions.html", context)


def _end_one(request: ApiRequest, session: ApiSession, own: SessionRecord, target: str) -> HttpResponse:
    try:
        record = _active_sessions(own).only("user_agent").filter(pk=UUID(target)).first()
    except ValueError:
        record = None
    if record is not None and record.pk == own.pk:
        return logout(request)
    if record is None or not _end(request, session, record.pk):
        return _result(request, "Nothing ended: none of your active sessions has this id.", ended=0, status=404)
    browser = describe_browser(record.user_agent) or "an unknown browser"
    return _result(request, f"You ended the session in {browser}. {_when_it_ends(session, 'That browser')}", ended=1)


def _end_others(request: ApiRequest, session: ApiSession, own: SessionRecord) -> HttpResponse:
    others = _active_sessions(own).exclude(pk=own.pk).order_by().values_list("pk", flat=True)[: MAX_ENDED_AT_ONCE + 1]
    found = list(others)
    ended = sum(_end(request, session, pk) for pk in found[:MAX_ENDED_AT_ONCE])
    if len(found) > MAX_ENDED_AT_ONCE:
        text = f"You ended {ended:,} sessions, and there are more. End all others once more."
    elif ended:
        number = "1 other session" if ended == 1 else f"{ended:,} other sessions"
        text = f"You ended {number}. {_when_it_ends(session, 'Each browser')}"
    elif own.user_key:
        text = "Nothing ended: you have no other active session."
    else:
        text = "Nothing ended: your sessions in other browsers cannot be found."
    return _result(request, text, ended=ended)


def _end(request: ApiRequest, session: ApiSession, session_id: UUID) -> bool:
    address = request.api_session.address
    return end_session(session_id, EndReason.ENDED_ELSEWHERE, user_id=session.user.id, address=address)


def _result(request: ApiRequest, text: str, *, ended: int, status: int = 200) -> HttpResponse:
    if _is_for_script(request):
        return JsonResponse({"ended": ended, "detail": text}, status=status)
    (messages.success if ended else messages.warning)(request, text)
    return redirect("accounts:sessions")


def _when_it_ends(session: ApiSession, browser: str) -> str:
    """When `browser` is signed out: at once, or at its next rotation.

    That is within the lifetime of its access token, which the API chooses: the same as that of this session's.
    """
    if conf.checks_every_request:
        return f"{browser} is signed out at once."
    lifetime = session.tokens.access_lifetime()
    if lifetime is None:
        return f"{browser} is signed out when its session is next renewed."
    return f"{browser} is signed out within {in_words(math.ceil(lifetime))}."


def _is_for_script(request: ApiRequest) -> bool:
    return is_script(request) and not is_htmx(request)
