"""The rows of a drawing: what the steps of a request look like."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from accounts.diagram.captions import ADOPTED_AFTER_A_WAIT, CALLS, ENDS, INSIDE, last, of_answer, of_call, of_request
from accounts.telemetry.trace import Step, StepKind


class Direction(StrEnum):
    """Between whom something happened."""

    REQUEST = "asked"  # from the browser to Django
    API_CALL = "called"  # from Django to the API, and its answer back
    RESPONSE = "answered"  # from Django to the browser
    INSIDE = "inside"  # in Django alone


class Tone(StrEnum):
    """What to look at."""

    PLAIN = "plain"
    RENEWAL = "renewal"
    TROUBLE = "trouble"


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagramRow:
    """One numbered thing in a drawing. `label` and `detail` are short, `caption` is a sentence or two.

    `reply` is what came back of a call; empty where nothing did.
    """

    direction: Direction
    at: float
    label: str
    caption: str
    detail: str = ""
    reply: str = ""
    tone: Tone = Tone.PLAIN


def diagram_rows(steps: Sequence[Step]) -> list[DiagramRow]:
    """The rows of one request, in the order of its steps. What only belongs to another step has none of its own."""
    return [
        row
        for number, step in enumerate(steps)
        if (row := _row(step, before=steps[:number], after=steps[number + 1 :])) is not None
    ]


def response_status(steps: Sequence[Step]) -> str:
    """What the browser got."""
    answer = last(steps, StepKind.ANSWER)
    return "no answer yet" if answer is None else f"{answer.status}"


def summarize(steps: Sequence[Step]) -> str:
    """A request in a line."""
    return ", ".join([response_status(steps), *(words for words, _ in highlights(steps))])


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
        elif step.kind in ENDS:
            found.append(("the session ends", Tone.TROUBLE))
        elif step.kind in CALLS and step.status is None:
            found.append(("the API gave no answer", Tone.TROUBLE))
    return list(dict.fromkeys(found))


def _row(step: Step, *, before: Sequence[Step], after: Sequence[Step]) -> DiagramRow | None:
    if step.kind == StepKind.REQUEST:
        return _request(step, after)
    if step.kind in CALLS:
        return _call(step, before, after)
    if step.kind == StepKind.ANSWER:
        return _answer(step, before, after)
    if step.kind in (StepKind.BODY_SENT, StepKind.BODY_LEFT, "handed-off"):
        return _body(step)
    return _inside(step, before)


def _request(step: Step, after: Sequence[Step]) -> DiagramRow:
    opened = last(after, StepKind.OPENED)
    return DiagramRow(
        direction=Direction.REQUEST,
        at=step.at,
        label=f"{step.method} {step.path}",
        detail="" if opened is None else f"cookie, generation {opened.generation}",
        caption=of_request(step, after),
    )


def _call(step: Step, before: Sequence[Step], after: Sequence[Step]) -> DiagramRow:
    took = milliseconds(step.took)
    trouble = step.status is None or step.status == 401 or step.status >= 500
    return DiagramRow(
        direction=Direction.API_CALL,
        at=step.at,
        label=f"{step.method} {step.path}" + (f", {step.times} times" if step.times > 1 else ""),
        reply="" if step.status is None else f"{step.status} · {took}",
        detail=f"no answer · {took}" if step.status is None else "",
        caption=of_call(step, before, after),
        tone=Tone.TROUBLE if trouble else Tone.RENEWAL if step.kind == StepKind.REFRESH else Tone.PLAIN,
    )


def _answer(step: Step, before: Sequence[Step], after: Sequence[Step]) -> DiagramRow:
    written = last(before, StepKind.COOKIE_SET)
    if written is not None:
        detail = f"Set-Cookie, generation {written.generation}"
    else:
        detail = "Set-Cookie, deleted" if last(before, StepKind.COOKIE_DELETED) else ""
    trouble = step.status is not None and step.status >= 400
    return DiagramRow(
        direction=Direction.RESPONSE,
        at=step.at,
        label=f"{step.status} · {milliseconds(step.at)}",
        detail=detail,
        caption=of_answer(step, before, after),
        tone=Tone.TROUBLE if trouble else Tone.PLAIN if written is None else Tone.RENEWAL,
    )


def _body(step: Step) -> DiagramRow:
    if step.kind == "handed-off":
        return DiagramRow(
            direction=Direction.RESPONSE,
            at=step.at,
            label="hand-off, in the body",
            detail=f"generation {step.generation}",
            caption="The headers had left, and a cookie with them it was too late for. So the body carries the new "
            f"session, sealed for this purpose alone: generation {step.generation}.",
            tone=Tone.RENEWAL,
        )
    sent = step.kind == StepKind.BODY_SENT
    return DiagramRow(
        direction=Direction.RESPONSE,
        at=step.at,
        label=f"{'end of the body' if sent else 'broken off'} · {milliseconds(step.at)}",
        caption="The last of the body was sent." if sent else "The browser did not wait for the end of the body.",
        tone=Tone.PLAIN if sent else Tone.TROUBLE,
    )


def _inside(step: Step, before: Sequence[Step]) -> DiagramRow | None:
    if step.kind == StepKind.ADOPTED and any(earlier.kind == StepKind.WAITED for earlier in before):
        words = ADOPTED_AFTER_A_WAIT
    elif step.kind in INSIDE:
        words = INSIDE[step.kind]
    else:
        return None
    numbers = {"generation": f"generation {step.generation}", "took": milliseconds(step.took)}
    label, detail, caption = (text.format(**numbers) for text in words)
    trouble = step.kind in ENDS or step.kind in ("unstored", StepKind.UPDATE_REFUSED)
    return DiagramRow(
        direction=Direction.INSIDE,
        at=step.at,
        label=label,
        detail=detail,
        caption=caption,
        tone=Tone.TROUBLE if trouble else Tone.RENEWAL,
    )
