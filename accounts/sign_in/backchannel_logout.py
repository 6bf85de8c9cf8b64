"""`/accounts/backchannel-logout/`: the provider ends sessions here (OpenID Connect Back-Channel Logout 1.0)."""

import json
import logging
from urllib.parse import parse_qsl

from django.contrib.auth.decorators import login_not_required
from django.db import router
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from accounts.browser.client_address import client_address
from accounts.conf import conf
from accounts.dialects import current_dialect
from accounts.dialects.base import PasswordDialect, user_from
from accounts.dialects.discovery import UnusableDocument
from accounts.dialects.id_tokens import (
    LEEWAY_SECONDS,
    MAX_LOGOUT_TOKEN_AGE_SECONDS,
    LogoutToken,
    verify_logout_token,
)
from accounts.dialects.oauth2 import OAuth2Dialect
from accounts.exceptions import RETRY_AFTER_SECONDS, ApiError, ApiMisbehaved, ApiUnavailable
from accounts.models import AttemptCount, EndReason, SessionRecord, SessionRecordQuerySet, sid_key, user_key
from accounts.rotation.database import database_errors_as_unavailable
from accounts.rotation.ending import end_session

logger = logging.getLogger(__name__)

#: A logout token has about 1 KB.
MAX_BODY_BYTES = 16 * 1024
_FORM = "application/x-www-form-urlencoded"
#: Until a token is refused because of its age, by a clock that may be behind.
_REMEMBERED_SECONDS = MAX_LOGOUT_TOKEN_AGE_SECONDS + 2 * LEEWAY_SECONDS


@login_not_required
@csrf_exempt  # the token's signature proves that the provider sent it
@never_cache
def backchannel_logout(request: HttpRequest) -> HttpResponse:
    """End the session that a logout token names by its `sid`, or all sessions of its `sub`.

    200 also if there are none. 400 with JSON for any other request (section 2.8), and 503 while the token cannot be
    checked or the database fails: the provider may send it again. 404 without a provider that sends logout tokens.
    """
    if not _has_openid_provider():
        raise Http404
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    try:
        token = verify_logout_token(_posted_token(request))
        with database_errors_as_unavailable():
            _end_sessions(token, address=client_address(request))
    except (ApiUnavailable, UnusableDocument) as error:
        logger.error("a logout token could not be used: %s", error)
        response = _error("temporarily_unavailable", "This site cannot check the token now.", status=503)
        response["Retry-After"] = str(getattr(error, "retry_after", RETRY_AFTER_SECONDS))
        return response
    except ApiError as error:
        logger.warning("a logout token was refused: %s", error)
        return _error("invalid_request", str(error), status=400)
    return HttpResponse()


def _has_openid_provider() -> bool:
    dialect = current_dialect()
    signs_in_there = isinstance(dialect, OAuth2Dialect) and not isinstance(dialect, PasswordDialect)
    return signs_in_there and bool(conf.oauth_issuer) and "openid" in conf.oauth_scope.split()


def _posted_token(request: HttpRequest) -> str:
    """The field `logout_token` of the form. Raises ApiMisbehaved.

    Not by request.POST, which reads a body of any size.
    """
    length = str(request.META.get("CONTENT_LENGTH") or "0")
    if request.content_type != _FORM or not length.isdecimal() or not 0 < int(length) <= MAX_BODY_BYTES:
        raise ApiMisbehaved(f"the request is no form ({_FORM}) of at most {MAX_BODY_BYTES} bytes")
    try:
        fields = parse_qsl(request.body.decode("ascii"), max_num_fields=10)
    except (ValueError, OSError) as error:
        raise ApiMisbehaved("the form cannot be read") from error
    tokens = [value for name, value in fields if name == "logout_token"]
    if len(tokens) != 1:
        raise ApiMisbehaved("the form does not have one logout_token")
    return tokens[0]


def _end_sessions(token: LogoutToken, *, address: str) -> None:
    """End the sessions that `token` names, unless it was used before. Raises ApiMisbehaved or DatabaseError."""
    used = f"logout-token/{json.dumps([conf.oauth_issuer, token.jti])}"
    was_used = "the provider's logout token was used before"
    if AttemptCount.objects.count_of(used, seconds=_REMEMBERED_SECONDS):
        raise ApiMisbehaved(was_used)
    for session_id, user_id in _named_sessions(token).values_list("pk", "user_id"):
        end_session(session_id, EndReason.BY_PROVIDER, user_id=user_id, address=address)
    # Last: if the database fails before, the provider can send the same token again.
    if not AttemptCount.objects.claim(used, seconds=_REMEMBERED_SECONDS):
        # The same token arrived twice at the same moment.
        raise ApiMisbehaved(was_used)


def _named_sessions(token: LogoutToken) -> SessionRecordQuerySet:
    # From the database that is written to: a replica that lags behind does not know a new session.
    records = SessionRecord.objects.using(router.db_for_write(SessionRecord)).filter(ended_at=None)
    if token.sid:
        records = records.filter(sid_key=sid_key(token.sid))
    if token.sub:
        user = user_from({"id": token.sub})
        key = user_key(user)
        if not key and not token.sid:
            raise ApiMisbehaved("the provider's logout token: its sub is no id of a user here")
        # An index has `user_id`.
        records = records.filter(user_id=str(user.id)[:255], user_key=key)
    return records


def _error(error: str, description: str, *, status: int) -> JsonResponse:
    return JsonResponse({"error": error, "error_description": description}, status=status)
