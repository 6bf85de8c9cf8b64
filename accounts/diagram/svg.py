"""A request as a sequence diagram: Browser, Django and API, with arrows between them, in SVG, and a caption for each.

Lengths are in em, and places across in percent, so a drawing is as wide as there is room, and its text keeps its size.
Colours come from `accounts/diagram.css`. The captions say all that the drawing shows, so to a screen reader they are
it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from accounts.diagram.steps import (
    DiagramRow,
    Direction,
    diagram_rows,
    highlights,
    milliseconds,
    response_status,
    summarize,
)
from accounts.models import TracedRequest
from accounts.telemetry.trace import Step

_BROWSER, _DJANGO, _API = 8, 50, 92
#: What fits above an arrow on a phone.
_MAX_LABEL = 30
#: Where the first arrow's room begins, below the names of the lanes.
_TOP = 2.6
#: Words keep clear of the circles, which may be above or below them.
_LABEL, _ARROW, _DETAIL = 0.9, 1.8, 3.45
_ROOM = {"arrow": 3.2, "detail": 4.7, "reply": 2.4, "inside": 3.0, "inside_detail": 3.7}


class Text(NamedTuple):
    """`x` in percent, `y` in em."""

    text: str
    x: str
    y: str
    anchor: str
    is_detail: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What a numbered row looks like."""

    number: int
    x: str
    y: str
    tone: str
    arrows: "list[Arrow]"
    texts: list[Text]


class Arrow(NamedTuple):
    """From one lane to another; what comes back is dashed, and what never arrives is crossed out."""

    tail: str
    head: str
    y: str
    points: str
    dashed: bool
    lost: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagram:
    """What the template needs."""

    marks: list[Mark]
    captions: list[tuple[str, str]]
    height: str


def draw_diagram(steps: Sequence[Step]) -> SafeString:
    """The drawing of one request and its captions, as HTML. Its page links to `accounts/diagram.css`."""
    return render_to_string("accounts/diagram.html", {"drawing": layout_rows(diagram_rows(steps))}, using="pages")


def draw_request(traced: TracedRequest, *, is_open: bool = False, heading: str = "h2") -> SafeString:
    """A request as an item of a list: what it was, in a line, and when that is opened its drawing."""
    steps = [Step.from_json(step) for step in traced.steps]
    asked = steps[0]
    context = {
        "id": traced.trace_id.hex,
        "asked": f"{asked.method} {asked.path}",
        "status": response_status(steps),
        "highlights": highlights(steps),
        "took": milliseconds(steps[-1].at),
        "at": traced.at,
        "request_id": traced.request_id,
        "drawing": layout_rows(diagram_rows(steps)),
        "is_open": is_open,
        "heading": heading,
    }
    return render_to_string("accounts/traced_request.html", context, using="pages")


def summarize_request(traced: TracedRequest) -> str:
    """A request in a line, to be spoken."""
    steps = [Step.from_json(step) for step in traced.steps]
    return f"{steps[0].method} {steps[0].path}: {summarize(steps)}"


def layout_rows(rows: Sequence[DiagramRow]) -> Diagram:
    """Put the rows below each other."""
    marks, y = [], _TOP
    for number, row in enumerate(rows, 1):
        mark, room = _place(number, row, y)
        marks.append(mark)
        y += room
    captions = [(f"+{milliseconds(row.at)}", row.caption) for row in rows]
    return Diagram(marks=marks, captions=captions, height=_em(y + 0.4))


def _place(number: int, row: DiagramRow, y: float) -> tuple[Mark, float]:
    if row.direction is Direction.INSIDE:
        return _place_inside(number, row, y)
    tail, head = {
        Direction.REQUEST: (_BROWSER, _DJANGO),
        Direction.API_CALL: (_DJANGO, _API),
        Direction.RESPONSE: (_DJANGO, _BROWSER),
    }[row.direction]
    calls = row.direction is Direction.API_CALL
    # Words begin at the outer lane, and where there is little room they run on across Django's.
    x, anchor = (f"{_API - 2}%", "end") if calls else (f"{_BROWSER + 2}%", "start")
    lost = calls and not row.reply
    arrows = [_arrow(tail, head, y + _ARROW, dashed=row.direction is Direction.RESPONSE, lost=lost)]
    texts = [Text(shorten(row.label), x, _em(y + _LABEL), anchor)]
    room = _ROOM["arrow"]
    if row.detail:
        texts.append(Text(row.detail, x, _em(y + _DETAIL), anchor, is_detail=True))
        room = _ROOM["detail"]
    if row.reply:
        arrows.append(_arrow(head, tail, y + _ARROW + _ROOM["reply"], dashed=True))
        texts.append(Text(row.reply, x, _em(y + _LABEL + _ROOM["reply"]), anchor))
        room += _ROOM["reply"]
    return _mark(number, row, tail, y + _ARROW, arrows, texts), room


def _place_inside(number: int, row: DiagramRow, y: float) -> tuple[Mark, float]:
    x = f"{_DJANGO + 6}%"
    texts = [Text(row.label, x, _em(y + 1.65 - (0.6 if row.detail else 0)), "start")]
    if row.detail:
        texts.append(Text(row.detail, x, _em(y + 2.25), "start", is_detail=True))
    room = _ROOM["inside_detail" if row.detail else "inside"]
    return _mark(number, row, _DJANGO, y + 1.3, [], texts), room


def _mark(number: int, row: DiagramRow, lane: int, y: float, arrows: list[Arrow], texts: list[Text]) -> Mark:
    return Mark(number=number, x=f"{lane}%", y=_em(y), tone=row.tone.value, arrows=arrows, texts=texts)


def _arrow(tail: int, head: int, at: float, *, dashed: bool, lost: bool = False) -> Arrow:
    right = head > tail
    end = head - 6 if lost else head
    # In pixels from the lane, whose own line is in between; Django's is the widest.
    tip = 3 if head == _DJANGO else 1
    points = " ".join(f"{-x if right else x},{y}" for x, y in ((tip, 0), (tip + 9, -4.5), (tip + 9, 4.5)))
    return Arrow(f"{tail}%", f"{end}%", _em(at), points, dashed, lost)


def shorten(label: str) -> str:
    """A label with what fits; the caption has all of it."""
    if len(label) <= _MAX_LABEL:
        return label
    half = (_MAX_LABEL - 1) // 2
    return f"{label[:half]}…{label[-half:]}"


def _em(number: float) -> str:
    return f"{number:.2f}em"
