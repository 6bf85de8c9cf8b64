"""What the steps of a request mean, in words: for those who look at a drawing, and for those who cannot."""

from collections.abc import Sequence

from accounts.telemetry.trace import Step, StepKind

ENDS = {
    "refused": "the API refused the refresh token",
    "expired": "the refresh token has expired",
    "signed-out": "the user signed out",
    "replaced": "the user signed in again",
    "revoked": "staff ended it",
    "reused": "an old cookie was used again, so somebody has copied one",
}
#: What happens in Django alone: what stands beside it in the drawing, in one line or two, and the caption.
INSIDE = {
    "signed-in": ("session begins", "{generation}", "A session begins. Its cookie holds both tokens, sealed."),
    "rotated": ("stored", "{generation}", "It was stored before it was used: from here on, nothing can lose it."),
    "unstored": (
        "not stored",
        "{generation}",
        "The database could not store the new pair. The cookie alone carries it on.",
    ),
    StepKind.STILL_VALID: ("still valid", "", "Django goes on with the present access token."),
    StepKind.WAITED: (
        "waited",
        "{took}",
        "Another request was renewing already. This one waited {took} for its result.",
    ),
    StepKind.ADOPTED: (
        "adopted",
        "{generation}",
        (
            "The record of the session held a newer one than the cookie: {generation}. Another request got it a moment "
            "ago, or the answer that carried it was lost. Django went on with it, and asked the API for none."
        ),
    ),
    StepKind.PAUSE: (
        "no refresh now",
        "",
        (
            "A refresh got no usable answer a moment ago. Nobody asks again so soon: while the API is away, nobody "
            "waits for it in vain."
        ),
    ),
    "confirmed": (
        "confirmed",
        "{generation}",
        "The browser came back with {generation}, so it has it. Older ones are retired from now on.",
    ),
    "handed-over": (
        "hand-off accepted",
        "{generation}",
        "This is the new session out of the body of a stream: {generation}. It is for this very browser.",
    ),
    StepKind.UPDATE_REFUSED: (
        "hand-off refused",
        "",
        "This is no hand-off for the session of this browser, or it is too old. The cookie is left alone.",
    ),
} | {kind: ("session over", "", f"The session is over: {why}.") for kind, why in ENDS.items()}
ADOPTED_AFTER_A_WAIT = (
    "adopted",
    "{generation}",
    "Django went on with that result: {generation}. The API was asked only once.",
)
CALLS = (StepKind.CALL, StepKind.SIGN_IN, StepKind.REFRESH, StepKind.REVOCATION)
RENEWALS = ("rotated", "unstored", StepKind.ADOPTED)


def of_request(step: Step, after: Sequence[Step]) -> str:
    """What the browser sent."""
    asked = f"The browser sent {step.method} {step.path}"
    opened = last(after, StepKind.OPENED)
    if opened is None:
        return f"{asked}. It came without a session."
    return f"{asked}, and with it the sealed cookie: generation {opened.generation} of the session."


def of_call(step: Step, before: Sequence[Step], after: Sequence[Step]) -> str:
    """What Django asked the API for, and what came of it."""
    if step.kind == StepKind.SIGN_IN:
        return _of_sign_in(step)
    if step.kind == StepKind.REFRESH:
        return _of_refresh(step, after)
    if step.kind == StepKind.REVOCATION:
        return _of_revocation(step)
    return _of_data(step, before, after)


def of_answer(step: Step, before: Sequence[Step], after: Sequence[Step]) -> str:
    """What the browser got, and what became of its cookie."""
    streamed = any(later.kind in (StepKind.BODY_SENT, StepKind.BODY_LEFT) for later in after)
    sent = "The headers left ahead of the body" if streamed else "Django answered"
    words = [f"{sent}: {step.status}.", _of_cookie(before)]
    if step.status in (502, 503) and last(before, StepKind.OPENED) is not None:
        words.append("The user is still signed in.")
    if streamed:
        words.append("From here on, none can be set.")
    return " ".join(words)


def last(steps: Sequence[Step], kind: str) -> Step | None:
    """The last step of this kind."""
    return next((step for step in reversed(steps) if step.kind == kind), None)


def _of_cookie(before: Sequence[Step]) -> str:
    opened, written = last(before, StepKind.OPENED), last(before, StepKind.COOKIE_SET)
    if written is None:
        deleted = last(before, StepKind.COOKIE_DELETED) is not None
        return "The answer deletes the cookie." if deleted else "The cookie stays as it is."
    if opened is None or opened.generation != written.generation:
        return f"The answer carries the new session as a cookie, generation {written.generation}."
    confirmed = ", now marked as confirmed" if last(before, "confirmed") else ""
    return f"The answer writes the cookie once more, generation {written.generation}{confirmed}."


def _of_data(step: Step, before: Sequence[Step], after: Sequence[Step]) -> str:
    renewed = any(earlier.kind in RENEWALS for earlier in before)
    previous = last(before, StepKind.CALL)
    repeated = previous is not None and (previous.method, previous.path, previous.status) == (
        step.method,
        step.path,
        401,
    )
    token = "the new access token" if renewed else "the access token from the cookie"
    calls = f"{step.times} calls" if step.times > 1 else "a call"
    if step.status is None:
        again = after and (after[0].kind, after[0].path) == (step.kind, step.path)
        end = "It tried once more." if again else "That costs this page, and not the session."
        return f"Django called the API with {token}{' twice' if step.times > 1 else ''}, and got no answer. {end}"
    if step.status == 401:
        return f"Django called the API with {token}. The token had expired, so the API said no."
    if step.status >= 500:
        return f"Django called the API with {token}, and the API failed: {step.status}. The session stays."
    if repeated:
        return f"Django repeated the call with {token}, and the API answered {step.status}."
    if any(earlier.kind == StepKind.ANSWER for earlier in before):
        return f"While the body was on its way, Django made {calls} with {token}. The API answered {step.status}."
    return f"Django made {calls} to the API in the user's name, with {token}. The API answered {step.status}."


def _of_sign_in(step: Step) -> str:
    if step.status is None:
        return "Django asked the API to sign the user in, and got no answer."
    if step.status < 300:
        return f"Django asked the API to sign the user in, and the API answered {step.status}."
    return f"Django asked the API to sign the user in, and the API refused: {step.status}."


def _of_refresh(step: Step, after: Sequence[Step]) -> str:
    outcome = next((later for later in after if later.kind not in CALLS), None)
    asked = "Django wanted to trade the refresh token for a new pair"
    if step.status is None:
        return f"{asked}, and got no answer. That is no refusal: the session stays."
    if outcome is not None and outcome.kind in ("rotated", "unstored"):
        why = {
            "expired": "By its own clock Django knew that the access token had expired, and saved itself the 401. It",
            "early": "The access token was about to expire. Django",
            "stream": "A stream was to begin, and the access token would not have lasted. Django",
        }.get(outcome.trigger, "Django")
        return f"{why} traded the refresh token for a new pair: generation {outcome.generation}."
    if outcome is not None and outcome.kind == StepKind.STILL_VALID:
        return f"{asked}. The API says that the access token is still good, and spent nothing."
    if outcome is not None and outcome.kind in ENDS:
        return f"{asked}. The API refused, in its own words: {step.status}."
    if step.status < 300:
        return f"{asked}, and the API answered {step.status}."
    return f"{asked}. The API answered {step.status}, which is no refusal: the session stays."


def _of_revocation(step: Step) -> str:
    asked = "Django asked the API to forget the tokens"
    return f"{asked}, and got no answer." if step.status is None else f"{asked}. The API answered {step.status}."
