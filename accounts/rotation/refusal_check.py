"""Before a session ends: did the API itself refuse the refresh token, or a gateway in front of it?

A gateway without a route to the API answers every path with 401 or 404 and JSON. So this module asks for a path that
cannot exist, beside the path of the refresh call. If both responses say the same, the API has said nothing.
"""

import json
import logging
import re
import secrets
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from accounts.dialects import current_dialect
from accounts.dialects.base import RefreshOutcome, Refused, Unknown, is_later, unknown
from accounts.exceptions import ApiError
from accounts.rotation.token_requests import with_key
from accounts.session.tokens import TokenPair
from accounts.telemetry.trace import StepKind, label_api_calls
from accounts.text import parse_json
from accounts.upstream.calls import ApiAnswer, ApiCall
from accounts.upstream.transport import AnswerLost, NotSent, call_once, call_with_nonce

logger = logging.getLogger(__name__)

# Request ids and times differ between two responses that say the same. An id may have letters only.
_WORD_WITH_DIGIT = re.compile(r"\S*\d\S*")
_NAME_OF_ID_OR_TIME = re.compile(r".*(id|trace|time|timestamp|date)", re.IGNORECASE)


@label_api_calls(StepKind.REFRESH)
def verify_refusal(tokens: TokenPair, *, address: str, ends_at: float) -> RefreshOutcome:
    """Send a refresh once more that was refused, after a request for a path that cannot exist.

    The API may have come back in between, so the second response counts. It is Unknown if it says the same as the
    response for the other path. Both must arrive before `ends_at` (time.monotonic()).
    """
    dialect = current_dialect()
    tokens = with_key(tokens, dialect)
    try:
        call = dialect.refresh(tokens)
        probe = probe_beside(call)
        nowhere = call_once(probe, address=address, ends_at=ends_at)
        if is_later(nowhere):
            return unknown(nowhere)
        answer = call_with_nonce(lambda: dialect.refresh(tokens), address=address, ends_at=ends_at)
    except (ApiError, NotSent, AnswerLost) as error:
        return Unknown(f"{type(error).__name__}: {error}")
    outcome = dialect.read_refresh(answer, tokens)
    if not isinstance(outcome, Refused) or outcome.is_certain:
        return outcome
    if says_the_same(answer, call.path, nowhere, probe.path):
        why = f"status {answer.status} with the same JSON as for a path that does not exist, so not from the API itself"
        logger.error("a refresh got %s", why)
        return Unknown(why)
    return Refused(is_certain=True)


def probe_beside(call: ApiCall) -> ApiCall:
    """A call like `call`, without its contents, for a path beside it that cannot exist."""
    parts = urlsplit(call.path)
    folder = parts.path.rstrip("/").rpartition("/")[0]
    slash = "/" if parts.path.endswith("/") else ""
    path = urlunsplit(parts._replace(path=f"{folder}/no-such-path-{secrets.token_hex(8)}{slash}", query=""))
    return ApiCall(method=call.method, path=path, json=None if call.json is None else {}, form=call.form and {})


def says_the_same(answer: ApiAnswer, path: str, other: ApiAnswer, other_path: str) -> bool:
    """Whether two responses have the same status and the same contents, apart from the path, ids and times in them."""
    # In both: the last segment of a path may also be a word of the message, such as "token".
    names = [
        name for each in (path, other_path) for name in (each, urlsplit(each).path, each.rstrip("/").rpartition("/")[2])
    ]
    return answer.status == other.status and _contents(answer, names) == _contents(other, names)


def _contents(answer: ApiAnswer, names: list[str]) -> str:
    try:
        text = json.dumps(parse_json(answer.body, object_hook=_without_ids_and_times), sort_keys=True)
    except (ValueError, RecursionError):
        text = answer.body.decode(errors="replace")
    for name in names:
        text = text.replace(name, " ")
    return " ".join(_WORD_WITH_DIGIT.sub(" ", text).split())


def _without_ids_and_times(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if not _NAME_OF_ID_OR_TIME.fullmatch(name)}
