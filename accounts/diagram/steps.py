"""The rows of a request trace: how the steps of a request look in the diagram."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from accounts.diagram import captions
from accounts.models import EventKind
from accounts.telemetry.trace import Step, StepKind


class Direction(StrEnum):
    """From where to where an arrow leads."""

    REQUEST = "request"  # from the browser to Django
    API_CALL = "api-call"  # from Django to the API, and the response
    RESPONSE = "response"  # from Django to the browser
    INTERNAL = "internal"  # inside Django


class RowStyle(StrEnum):
    """The CSS class of a row."""

    NORMAL = "normal"
    ROTATION = "rotation"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagramRow:
    """One numbered row. `label` stands above the arrow, `details` below it, `caption` beside the diagram.

    `response` is the label of the API's response; it is empty where there was none.
    """

    direction: Direction
    at: float
    label: str
    caption: str
    details: tuple[str, ...] = ()
    response: str = ""
    style: RowStyle = RowStyle.NORMAL


def diagram_rows(steps: Sequence[Step]) -> list[DiagramRow]:
    """The rows of one request, in the order of its steps. A step that is a part of another one has no row."""
    return [
        row
        for number, step in enumerate(steps)
        if (row := _row(step, before=steps[:number], after=steps[number + 1 :])) is not None
    ]


def response_status(steps: Sequence[Step]) -> str:
    """The status that the browser got."""
    response = captions.last_step(steps, StepKind.ANSWER)
    return "no response yet" if response is None else f"{response.status}"


def summarize(steps: Sequence[Step]) -> str:
    """A request in one line."""
    return ", ".join([response_status(steps), *(text for text, _ in session_changes(steps))])


def milliseconds(number: float | None) -> str:
    """For people: with one decimal below 10 ms."""
    return "" if number is None else f"{number:.1f} ms" if 0 < number < 10 else f"{number:,.0f} ms"


def session_changes(steps: Sequence[Step]) -> list[tuple[str, RowStyle]]:
    """What happened to the session, and calls that the API did not respond to; each once, with its style."""
    changes = [change for step in steps if (change := _session_change(step)) is not None]
    return list(dict.fromkeys(changes))


def _session_change(step: Step) -> tuple[str, RowStyle] | None:
    if step.kind in captions.API_CALLS:
        return ("the API did not respond", RowStyle.PROBLEM) if step.status is None else None
    if step.kind in captions.END_REASONS:
        return "session ended", RowStyle.PROBLEM
    if step.kind in captions.ROTATIONS:
        return f"rotated to generation {step.generation}", RowStyle.ROTATION
    if step.kind == StepKind.ADOPTED:
        return f"picked up generation {step.generation}", RowStyle.ROTATION
    if step.kind == EventKind.UPDATE_ACCEPTED:
        return f"session update to generation {step.generation}", RowStyle.ROTATION
    if step.kind == EventKind.SIGNED_IN:
        return "session started", RowStyle.ROTATION
    if step.kind == EventKind.BOUND:
        return "bound to the device", RowStyle.ROTATION
    if step.kind == EventKind.UNPROVEN:
        return "device not proven", RowStyle.PROBLEM
    return None


def _row(step: Step, *, before: Sequence[Step], after: Sequence[Step]) -> DiagramRow | None:
    if step.kind == StepKind.REQUEST:
        return _request_row(step, after)
    if step.kind in captions.API_CALLS:
        return _api_call_row(step, before, after)
    if step.kind == StepKind.ANSWER:
        return _response_row(step, before, after)
    if step.kind == EventKind.UPDATE_SENT:
        return _session_update_row(step)
    if step.kind in (StepKind.BODY_SENT, StepKind.BODY_LEFT):
        return _end_of_body_row(step)
    return _internal_row(step, before)


def _request_row(step: Step, after: Sequence[Step]) -> DiagramRow:
    opened = captions.last_step(after, StepKind.OPENED)
    return DiagramRow(
        direction=Direction.REQUEST,
        at=step.at,
        label=f"{step.method} {step.path}",
        details=() if opened is None else ("Cookie", f"generation {opened.generation}"),
        caption=captions.caption_for_request(step, after),
    )


def _api_call_row(step: Step, before: Sequence[Step], after: Sequence[Step]) -> DiagramRow:
    took = milliseconds(step.took)
    failed = step.status is None or step.status == 401 or step.status >= 500
    style = RowStyle.ROTATION if step.kind == StepKind.REFRESH else RowStyle.NORMAL
    return DiagramRow(
        direction=Direction.API_CALL,
        at=step.at,
        label=(f"{step.times} calls: " if step.times > 1 else "") + f"{step.method} {step.path}",
        response="" if step.status is None else f"{step.status} · {took}",
        details=("no response", took) if step.status is None else (),
        caption=captions.caption_for_api_call(step, before, after),
        style=RowStyle.PROBLEM if failed else style,
    )


def _response_row(step: Step, before: Sequence[Step], after: Sequence[Step]) -> DiagramRow:
    written = captions.last_step(before, StepKind.COOKIE_SET)
    details: tuple[str, ...] = ()
    if written:
        details = ("Set-Cookie", f"generation {written.generation}")
    elif captions.last_step(before, StepKind.COOKIE_DELETED):
        details = ("Set-Cookie", "deleted")
    failed = step.status is not None and step.status >= 400
    return DiagramRow(
        direction=Direction.RESPONSE,
        at=step.at,
        label=f"{step.status} · {milliseconds(step.at)}",
        details=details,
        caption=captions.caption_for_response(step, before, after),
        style=RowStyle.PROBLEM if failed else RowStyle.ROTATION if written else RowStyle.NORMAL,
    )


def _session_update_row(step: Step) -> DiagramRow:
    return DiagramRow(
        direction=Direction.RESPONSE,
        at=step.at,
        label="session update",
        details=("in the body", f"generation {step.generation}"),
        caption="The headers were sent before the rotation, so they could not carry the new cookie. The body carries "
        f"a session update instead: the new session, sealed for this purpose, generation {step.generation}.",
        style=RowStyle.ROTATION,
    )


def _end_of_body_row(step: Step) -> DiagramRow:
    is_whole = step.kind == StepKind.BODY_SENT
    return DiagramRow(
        direction=Direction.RESPONSE,
        at=step.at,
        label="end of the body" if is_whole else "broken off",
        details=(milliseconds(step.at),),
        caption="Django sent the end of the body."
        if is_whole
        else "The browser closed the connection before the end of the body.",
        style=RowStyle.NORMAL if is_whole else RowStyle.PROBLEM,
    )


def _internal_row(step: Step, before: Sequence[Step]) -> DiagramRow | None:
    if step.kind == StepKind.ADOPTED and captions.last_step(before, StepKind.WAITED):
        texts = captions.PICKED_UP_AFTER_A_WAIT
    elif step.kind in captions.INTERNAL_STEPS:
        texts = captions.INTERNAL_STEPS[step.kind]
    else:
        return None
    numbers = {"generation": f"generation {step.generation}", "took": milliseconds(step.took)}
    label, detail, caption = (text.format(**numbers) for text in texts)
    failed = step.kind in captions.END_REASONS or step.kind in captions.PROBLEMS
    return DiagramRow(
        direction=Direction.INTERNAL,
        at=step.at,
        label=label,
        details=(detail,) if detail else (),
        caption=caption,
        style=RowStyle.PROBLEM if failed else RowStyle.ROTATION,
    )
