"""What the steps of a request mean, in words: for those who look at a drawing, and for those who cannot."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from accounts.trace import Step, StepKind


class Way(StrEnum):
    """Between whom something happened."""

    ASKED = "asked"  # from the browser to Django
    CALLED = "called"  # from Django to the API, and its answer back
    ANSWERED = "answered"  # from Django to the browser
    INSIDE = "inside"  # in Django alone


class Tone(StrEnum):
    """What to look at."""

    PLAIN = "plain"
    RENEWAL = "renewal"
    TROUBLE = "trouble"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One numbered thing in a drawing. `label` and `detail` are short, `caption` is a sentence or two.

    `reply` is what came back of a call; empty where nothing did.
    """

    way: Way
    at: float
    label: str
    caption: str
    detail: str = ""
    reply: str = ""
    tone: Tone = Tone.PLAIN


_ENDS = {
    "refused": "the API refused the refresh token",
    "expired": "the refresh token has expired",
    "signed-out": "you signed out",
    "replaced": "you signed in again",
    "revoked": "staff ended it",
    "reused": "an old cookie was used again, so somebody has copied one",
}
_CALLS = (StepKind.CALL, StepKind.SIGN_IN, StepKind.REFRESH, StepKind.REVOCATION)
_RENEWALS = ("rotated", "unstored", StepKind.ADOPTED)


def tell(steps: Sequence[Step]) -> list[Scene]:
    """The scenes of one request, in the order of its steps. What only belongs to another step has none of its own."""
    return [
        scene
        for number, step in enumerate(steps)
        if (scene := _scene(step, before=steps[:number], after=steps[number + 1 :])) is not None
    ]


def answered(steps: Sequence[Step]) -> str:
    """What the browser got."""
    answer = _last(steps, StepKind.ANSWER)
    return "no answer yet" if answer is None else f"{answer.status}"


def summarize(steps: Sequence[Step]) -> str:
    """A request in a line."""
    return ", ".join([answered(steps), *(words for words, _ in highlights(steps))])


def milliseconds(number: float | None) -> str:
    """To be read: a tenth counts only where there is little else."""
    return "" if number is None else f"{number:.1f} ms" if 0 < number < 10 else f"{number:,.0f} ms"


def highlights(steps: Sequence[Step]) -> list[tuple[str, Tone]]:
    """What is special about a request."""
    found = []
    for step in steps:
        if step.kind in ("rotated", "unstored"):
            found.append((f"renewed to generation {step.generation}", Tone.RENEWAL))
        elif step.kind == StepKind.ADOPTED:
            found.append((f"went on with generation {step.generation}", Tone.RENEWAL))
        elif step.kind == "handed-over":
            found.append((f"took generation {step.generation} over into the cookie", Tone.RENEWAL))
        elif step.kind == "signed-in":
            found.append(("a session begins", Tone.RENEWAL))
        elif step.kind in _ENDS:
            found.append(("the session ends", Tone.TROUBLE))
        elif step.kind in _CALLS and step.status is None:
            found.append(("the API gave no answer", Tone.TROUBLE))
    return list(dict.fromkeys(found))


def _scene(step: Step, *, before: Sequence[Step], after: Sequence[Step]) -> Scene | None:
    if step.kind == StepKind.REQUEST:
        return _request(step, after)
    if step.kind in _CALLS:
        return _call(step, before, after)
    if step.kind == StepKind.ANSWER:
        return _answer(step, before, after)
    if step.kind in (StepKind.BODY_SENT, StepKind.BODY_LEFT, "handed-off"):
        return _body(step)
    return _inside(step, before)


def _request(step: Step, after: Sequence[Step]) -> Scene:
    opened = _last(after, StepKind.OPENED)
    asked = f"Your browser sent {step.method} {step.path}"
    if opened is None:
        detail, caption = "", f"{asked}. It came without a session."
    else:
        detail = f"cookie, generation {opened.generation}"
        caption = f"{asked}, and with it the sealed cookie: generation {opened.generation} of your session."
    return Scene(way=Way.ASKED, at=step.at, label=f"{step.method} {step.path}", detail=detail, caption=caption)


def _call(step: Step, before: Sequence[Step], after: Sequence[Step]) -> Scene:
    reply = "" if step.status is None else f"{step.status} · {milliseconds(step.took)}"
    words = {StepKind.SIGN_IN: _sign_in, StepKind.REFRESH: _refresh, StepKind.REVOCATION: _revocation}
    caption = words[StepKind(step.kind)](step, after) if step.kind in words else _data(step, before)
    trouble = step.status is None or step.status in (401, 403) or step.status >= 500
    return Scene(
        way=Way.CALLED,
        at=step.at,
        label=f"{step.method} {step.path}" + (f", {step.times} times" if step.times > 1 else ""),
        reply=reply,
        detail=f"no answer · {milliseconds(step.took)}" if step.status is None else "",
        caption=caption,
        tone=Tone.TROUBLE if trouble else Tone.RENEWAL if step.kind == StepKind.REFRESH else Tone.PLAIN,
    )


def _data(step: Step, before: Sequence[Step]) -> str:
    renewed = any(earlier.kind in _RENEWALS for earlier in before)
    last = _last(before, StepKind.CALL)
    repeated = last is not None and (last.method, last.path, last.status) == (step.method, step.path, 401)
    token = "the new access token" if renewed else "the access token from the cookie"
    calls = f"{step.times} calls" if step.times > 1 else "a call"
    called = "called the API twice" if step.times > 1 else "called the API"
    if step.status is None:
        return f"Django {called} with {token}, and got no answer. That costs this page, and not the session."
    if step.status == 401:
        return f"Django called the API with {token}. The token had expired, so the API said no."
    if step.status >= 500:
        return f"Django called the API with {token}, and the API failed: {step.status}. The session stays."
    if repeated:
        return f"Django repeated the call with {token}, and the API answered {step.status}."
    if any(earlier.kind == StepKind.ANSWER for earlier in before):
        return f"While the body was on its way, Django made {calls} with {token}. The API answered {step.status}."
    return f"Django made {calls} to the API in your name, with {token}. The API answered {step.status}."


def _sign_in(step: Step, after: Sequence[Step]) -> str:
    if step.status is None:
        return "Django asked the API to sign you in, and got no answer."
    if step.status < 300:
        return f"Django asked the API to sign you in, and the API answered {step.status}."
    return f"Django asked the API to sign you in, and the API refused: {step.status}."


def _refresh(step: Step, after: Sequence[Step]) -> str:
    outcome = next((later for later in after if later.kind not in _CALLS), None)
    if outcome is not None and outcome.kind in ("rotated", "unstored"):
        why = {
            "expired": "By its own clock Django knew that the access token had expired, and saved itself the 401. It",
            "early": "The access token was about to expire. Django",
            "stream": "A stream was to begin, and the access token would not have lasted. Django",
        }.get(outcome.trigger, "Django")
        return f"{why} traded the refresh token for a new pair: generation {outcome.generation}."
    asked = "Django wanted to trade the refresh token for a new pair"
    if step.status is None:
        return f"{asked}, and got no answer. That is no refusal: the session stays."
    if outcome is not None and outcome.kind == StepKind.STILL_VALID:
        return f"{asked}. The API says that the access token is still good, and spent nothing."
    if outcome is not None and outcome.kind in _ENDS:
        return f"{asked}. The API refused, in its own words: {step.status}."
    if step.status < 300:
        return f"{asked}, and the API answered {step.status}."
    return f"{asked}. The API answered {step.status}, which is no refusal: the session stays."


def _revocation(step: Step, after: Sequence[Step]) -> str:
    asked = "Django asked the API to forget the tokens"
    return f"{asked}, and got no answer." if step.status is None else f"{asked}. The API answered {step.status}."


def _answer(step: Step, before: Sequence[Step], after: Sequence[Step]) -> Scene:
    opened, written = _last(before, StepKind.OPENED), _last(before, StepKind.COOKIE_SET)
    streamed = any(later.kind in (StepKind.BODY_SENT, StepKind.BODY_LEFT) for later in after)
    if written is not None:
        detail = f"Set-Cookie, generation {written.generation}"
        news = opened is None or opened.generation != written.generation
        cookie = (
            f"The answer carries the new session as a cookie, generation {written.generation}."
            if news
            else f"The answer writes the cookie once more, generation {written.generation}, now marked as confirmed."
        )
    elif _last(before, StepKind.COOKIE_DELETED) is not None:
        detail, cookie = "Set-Cookie, deleted", "The answer deletes the cookie."
    else:
        detail, cookie = "", "The cookie stays as it is."
    if step.status in (502, 503):
        cookie = f"{cookie} You are still signed in." if opened is not None else cookie
    if streamed:
        cookie = f"{cookie} From here on, none can be set."
    sent = "The headers left before the body was made" if streamed else "Django answered"
    return Scene(
        way=Way.ANSWERED,
        at=step.at,
        label=f"{step.status} · {milliseconds(step.at)}",
        detail=detail,
        caption=f"{sent}: {step.status}. {cookie}",
        tone=_tone_of_answer(step, written),
    )


def _tone_of_answer(step: Step, written: Step | None) -> Tone:
    if step.status is not None and step.status >= 400:
        return Tone.TROUBLE
    return Tone.PLAIN if written is None else Tone.RENEWAL


def _body(step: Step) -> Scene:
    if step.kind == "handed-off":
        return Scene(
            way=Way.ANSWERED,
            at=step.at,
            label="hand-off, in the body",
            detail=f"generation {step.generation}",
            caption="The headers had left, and a cookie with them it was too late for. So the body carries the new "
            f"session, sealed for this purpose alone: generation {step.generation}.",
            tone=Tone.RENEWAL,
        )
    sent = step.kind == StepKind.BODY_SENT
    return Scene(
        way=Way.ANSWERED,
        at=step.at,
        label=f"{'end of the body' if sent else 'broken off'} · {milliseconds(step.at)}",
        caption="The last of the body was sent." if sent else "The browser did not wait for the end of the body.",
        tone=Tone.PLAIN if sent else Tone.TROUBLE,
    )


def _inside(step: Step, before: Sequence[Step]) -> Scene | None:
    generation = f"generation {step.generation}"
    waited = any(earlier.kind == StepKind.WAITED for earlier in before)
    known = {
        "signed-in": ("session begins", generation, "A session begins. Its cookie holds both tokens, sealed."),
        "rotated": ("stored", generation, "It was stored before it was used: from here on, nothing can lose it."),
        "unstored": (
            "not stored",
            generation,
            "The database could not store the new pair. The cookie alone carries it on.",
        ),
        StepKind.STILL_VALID: ("still valid", "", "Django goes on with the present access token."),
        StepKind.WAITED: (
            "waited",
            milliseconds(step.took),
            f"Another request was renewing already. This one waited {milliseconds(step.took)} for its result.",
        ),
        StepKind.ADOPTED: (
            "adopted",
            generation,
            f"Django went on with that result: {generation}. The API was asked only once."
            if waited
            else f"The record of the session held a newer one than the cookie: {generation}. Another request got it a "
            "moment ago, or the answer that carried it was lost. Django went on with it, and asked the API for none.",
        ),
        StepKind.PAUSE: (
            "no refresh now",
            "",
            "A refresh got no usable answer a moment ago. Nobody asks again so soon: who waits on an API that is away "
            "fails at once.",
        ),
        "confirmed": (
            "confirmed",
            generation,
            f"Your browser came back with {generation}, so it has it. Older ones are retired from now on.",
        ),
        "handed-over": (
            "hand-off accepted",
            generation,
            f"This is the new session out of the body of a stream: {generation}. It is for this very browser.",
        ),
        StepKind.HAND_OFF_REFUSED: (
            "hand-off refused",
            "",
            "This is no hand-off for the session of this browser, or it is too old. The cookie is left alone.",
        ),
    } | {kind: ("session over", "", f"The session is over: {why}.") for kind, why in _ENDS.items()}
    if step.kind not in known:
        return None
    label, detail, caption = known[step.kind]
    trouble = step.kind in _ENDS or step.kind in ("unstored", StepKind.HAND_OFF_REFUSED)
    return Scene(
        way=Way.INSIDE,
        at=step.at,
        label=label,
        detail=detail,
        caption=caption,
        tone=Tone.TROUBLE if trouble else Tone.RENEWAL,
    )


def _last(steps: Sequence[Step], kind: str) -> Step | None:
    return next((step for step in reversed(steps) if step.kind == kind), None)
