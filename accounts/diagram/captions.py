"""The steps of a request in words: the text of the request trace, which screen readers read instead of the diagram."""

from collections.abc import Sequence

from accounts.conf import conf
from accounts.models import EventKind, Trigger
from accounts.telemetry.trace import Step, StepKind

END_REASONS = {
    EventKind.REFUSED: "the API refused the refresh token",
    EventKind.EXPIRED: "the refresh token expired",
    EventKind.SIGNED_OUT: "the user signed out",
    EventKind.REPLACED: "the user signed in again",
    EventKind.REVOKED: "staff ended it",
    EventKind.MAX_AGE: "it reached its maximum age",
    EventKind.IDLE: "it was not used for too long",
    EventKind.REUSED: "an old cookie was used after its grace period, so there may be a copy of it",
    EventKind.OTHER_USER: "the refresh returned the tokens of another user",
}
#: Steps inside Django: the label, the detail and the caption.
INTERNAL_STEPS: dict[str, tuple[str, str, str]] = {
    EventKind.SIGNED_IN: (
        "session starts",
        "{generation}",
        "The session starts. Its cookie holds both tokens, encrypted.",
    ),
    EventKind.ROTATED: (
        "stored",
        "{generation}",
        "Django stored the new token pair before using it. A crash or a lost response no longer loses it.",
    ),
    EventKind.UNSTORED: (
        "not stored",
        "{generation}",
        "The database could not store the new token pair. Only the cookie holds it.",
    ),
    StepKind.STILL_VALID: ("still valid", "", "Django continues with the present access token."),
    StepKind.WAITED: (
        "waited",
        "{took}",
        "Another request was already refreshing the tokens. This request waited {took} for the result.",
    ),
    StepKind.ADOPTED: (
        "picked up",
        "{generation}",
        (
            "The session's record was newer than the cookie: {generation}. Another request stored it a moment ago, or "
            "the response that carried it was lost. Django picked it up and asked the API for no refresh."
        ),
    ),
    StepKind.PAUSE: (
        "no refresh now",
        "",
        (
            "A refresh got no usable response a moment ago. Django does not try again so soon, so requests do not wait "
            "for an unavailable API."
        ),
    ),
    EventKind.CONFIRMED: (
        "confirmed",
        "{generation}",
        "The browser presented {generation}, so it has that cookie. Older generations now have only the grace period.",
    ),
    EventKind.UPDATE_ACCEPTED: (
        "update accepted",
        "{generation}",
        "The browser posted the session update from a streamed body: {generation}. It belongs to this session.",
    ),
    EventKind.BOUND: (
        "bound",
        "{generation}",
        "The browser sent the cookie with the key of its device. From now on, the session works with this key only.",
    ),
    EventKind.UNPROVEN: (
        "not proven",
        "",
        "The session is bound to a device. The request has no valid proof of it, and is not served. The session stays.",
    ),
    StepKind.DEVICE_CHALLENGED: (
        "challenge",
        "",
        "The proof of the device has expired. Django sends a challenge, which the browser signs with its key.",
    ),
    StepKind.DEVICE_PROVEN: (
        "proven",
        "",
        "The browser signed the challenge with the key of its device. It gets a new device cookie.",
    ),
    StepKind.DEVICE_REFUSED: (
        "proof refused",
        "",
        "The proof is not signed with the key of the device, or its challenge is too old. Nothing changes.",
    ),
    StepKind.UPDATE_REFUSED: (
        "update refused",
        "",
        "This is not a session update for the session of this browser, or it is too old. The cookie does not change.",
    ),
    **{kind: ("session ended", "", f"The session has ended: {reason}.") for kind, reason in END_REASONS.items()},
}
PICKED_UP_AFTER_A_WAIT = (
    "picked up",
    "{generation}",
    "Django continued with that result: {generation}. One call to the API served both requests.",
)
API_CALLS = (StepKind.CALL, StepKind.SIGN_IN, StepKind.REFRESH, StepKind.REVOCATION)
ROTATIONS = (EventKind.ROTATED, EventKind.UNSTORED)
#: Internal steps that show a problem, beside the reasons for an end.
PROBLEMS = (EventKind.UNSTORED, EventKind.UNPROVEN, StepKind.UPDATE_REFUSED, StepKind.DEVICE_REFUSED)
_BEFORE_THE_REFRESH = {
    Trigger.EXPIRED: "The access token had expired by Django's clock, so Django did not try it first. ",
    Trigger.EARLY: "The access token was about to expire. ",
    Trigger.STREAM: "A stream was about to begin, and the access token would have expired before its end. ",
}


def caption_for_request(step: Step, after: Sequence[Step]) -> str:
    """What the browser sent."""
    opened = last_step(after, StepKind.OPENED)
    if opened is None:
        return f"The browser sent {step.method} {step.path}. The request has no session."
    return f"The browser sent {step.method} {step.path} with the encrypted cookie, generation {opened.generation}."


def caption_for_api_call(step: Step, before: Sequence[Step], after: Sequence[Step]) -> str:
    """What Django sent to the API, and the outcome."""
    if _wanted_nonce(step, after):
        return f"The server wants a nonce in the proof of the session's key: {step.status}. Django repeats the call."
    if step.kind == StepKind.SIGN_IN:
        return f"Django asked the API to sign the user in{_api_response(step)}"
    if step.kind == StepKind.REFRESH:
        return _caption_for_refresh(step, after)
    if step.kind == StepKind.REVOCATION:
        return f"Django asked the API to revoke the tokens{_api_response(step)}"
    return _caption_for_data_call(step, before, after)


def caption_for_response(step: Step, before: Sequence[Step], after: Sequence[Step]) -> str:
    """What the browser got, and what happened to its cookie."""
    is_streamed = any(later.kind in (StepKind.BODY_SENT, StepKind.BODY_LEFT) for later in after)
    sent = (
        f"Django sent the headers with status {step.status}" if is_streamed else f"Django responded with {step.status}"
    )
    sentences = [f"{sent}.", _cookie_sentence(before)]
    if step.status in (502, 503) and last_step(before, StepKind.OPENED) is not None:
        sentences.append("The user is still signed in.")
    if is_streamed:
        sentences.append("The body follows, and can set no cookie.")
    return " ".join(sentences)


def last_step(steps: Sequence[Step], kind: str) -> Step | None:
    """The last step of this kind."""
    return next((step for step in reversed(steps) if step.kind == kind), None)


def _cookie_sentence(before: Sequence[Step]) -> str:
    opened, written = last_step(before, StepKind.OPENED), last_step(before, StepKind.COOKIE_SET)
    if written is None:
        is_deleted = last_step(before, StepKind.COOKIE_DELETED) is not None
        return "The response deletes the cookie." if is_deleted else "The cookie does not change."
    if opened is None or opened.generation != written.generation:
        return f"The response sets the new session as a cookie, generation {written.generation}."
    confirmed = ", now marked as confirmed" if last_step(before, EventKind.CONFIRMED) else ""
    return f"The response sets the cookie again, generation {written.generation}{confirmed}."


def _wanted_nonce(step: Step, after: Sequence[Step]) -> bool:
    """Whether the server wanted a nonce in the proof (RFC 9449): the same call follows at once."""
    statuses = (401,) if step.kind == StepKind.CALL else (400, 401)
    if not conf.oauth_dpop or step.status not in statuses or not after:
        return False
    return (step.kind, step.method, step.path) == (after[0].kind, after[0].method, after[0].path)


def _caption_for_data_call(step: Step, before: Sequence[Step], after: Sequence[Step]) -> str:
    has_new_token = any(earlier.kind in (*ROTATIONS, StepKind.ADOPTED) for earlier in before)
    token = "the new access token" if has_new_token else "the access token from the cookie"
    if step.status is None:
        tried_again = after and (after[0].kind, after[0].path) == (step.kind, step.path)
        ending = "Django tried again." if tried_again else "This page fails, and the session stays."
        return f"Django called the API with {token}{' twice' if step.times > 1 else ''} and got no response. {ending}"
    if step.status == 401:
        return f"Django called the API with {token}. The API did not accept the token: 401."
    if step.status >= 500:
        return f"Django called the API with {token}. The API failed with {step.status}. The session stays."
    previous = last_step(before, StepKind.CALL)
    if previous and (previous.method, previous.path, previous.status) == (step.method, step.path, 401):
        return f"Django repeated the call with {token}{_api_response(step)}"
    calls = f"{step.times} calls" if step.times > 1 else "a call"
    if any(earlier.kind == StepKind.ANSWER for earlier in before):
        return f"While it sent the body, Django made {calls} to the API with {token}{_api_response(step)}"
    return f"Django made {calls} to the API in the user's name, with {token}{_api_response(step)}"


def _caption_for_refresh(step: Step, after: Sequence[Step]) -> str:
    outcome = next((later for later in after if later.kind not in API_CALLS), None)
    attempt = "Django tried to refresh the tokens"
    if step.status is None:
        return f"{attempt} and got no response. This is not a refusal: the session stays."
    if outcome is not None and outcome.kind in ROTATIONS:
        reason = next((text for trigger, text in _BEFORE_THE_REFRESH.items() if trigger == outcome.trigger), "")
        return f"{reason}Django traded the refresh token for a new pair: generation {outcome.generation}."
    if outcome is not None and outcome.kind == StepKind.STILL_VALID:
        return f"{attempt}. The API says that the access token is still valid, and did not spend the refresh token."
    if outcome is not None and outcome.kind in END_REASONS:
        return f"{attempt}. The API refused the refresh token: {step.status}."
    if step.status < 300:
        return f"{attempt}{_api_response(step)}"
    return f"{attempt}. The API responded with {step.status}. This is not a refusal: the session stays."


def _api_response(step: Step) -> str:
    return " and got no response." if step.status is None else f". The API responded with {step.status}."
