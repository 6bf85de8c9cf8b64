"""A request as a sequence diagram in SVG: arrows between Browser, Django and API, and a caption for each.

Vertical positions are in em and horizontal ones in percent, so the diagram fills the width and its text keeps its size.
Colours come from `accounts/diagram.css`. The captions say everything that the diagram shows, so screen readers get the
captions alone.
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
    milliseconds,
    response_status,
    session_changes,
    summarize,
)
from accounts.models import TracedRequest
from accounts.telemetry.trace import Step

_BROWSER, _DJANGO, _API = 8, 50, 92
#: The characters of a line that fit between two lanes on a phone.
_MAX_LINE = 16
#: The first row begins below the names of the lanes.
_TOP = 2.6
#: Baselines and arrows within a row. They keep clear of the circles of this row and of its neighbours.
_LABEL, _ARROW, _DETAIL = 0.9, 1.8, 3.45
_ARROW_HEIGHT, _FIRST_DETAIL_HEIGHT, _LINE_HEIGHT, _RESPONSE_HEIGHT = 3.2, 1.5, 1.2, 2.4
_INTERNAL_HEIGHT, _INTERNAL_DETAIL_HEIGHT = 3.0, 0.7
#: Between a lane or a circle and a label, and the radius of a circle.
_GAP, _RADIUS = 0.5, 0.8


class Label(NamedTuple):
    """Begins or ends (`anchor`) beside the lane `x`, in percent. `dx` and `y` are in em."""

    text: str
    x: str
    dx: str
    y: str
    anchor: str
    is_detail: bool = False


class Arrow(NamedTuple):
    """From one lane to another. A response is dashed; a lost call is crossed out before it arrives."""

    tail: str
    head: str
    y: str
    points: str
    is_dashed: bool
    is_lost: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedRow:
    """A row with its position: a numbered circle at `x` and `y`, its arrows and its labels."""

    number: int
    x: str
    y: str
    style: str
    arrows: list[Arrow]
    labels: list[Label]


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagram:
    """The context of the template. `captions` are pairs of a time and a text."""

    rows: list[PlacedRow]
    captions: list[tuple[str, str]]
    height: str


def render_diagram(steps: Sequence[Step]) -> SafeString:
    """One request as a diagram with captions, in HTML. The page links to `accounts/diagram.css`."""
    return render_to_string("accounts/diagram.html", {"diagram": place_rows(diagram_rows(steps))})


def render_traced_request(traced: TracedRequest, *, is_open: bool = False, heading: str = "h2") -> SafeString:
    """A request as an item of a list: a line that opens to show the diagram."""
    steps = [Step.from_json(step) for step in traced.steps]
    request = steps[0]
    context = {
        "id": traced.trace_id.hex,
        "request_line": f"{request.method} {request.path}",
        "status": response_status(steps),
        "session_changes": session_changes(steps),
        "took": milliseconds(steps[-1].at),
        "at": traced.at,
        "request_id": traced.request_id,
        "diagram": place_rows(diagram_rows(steps)),
        "is_open": is_open,
        "heading": heading,
    }
    return render_to_string("accounts/traced_request.html", context)


def summarize_request(traced: TracedRequest) -> str:
    """A request in one line, for screen readers."""
    steps = [Step.from_json(step) for step in traced.steps]
    return f"{steps[0].method} {steps[0].path}: {summarize(steps)}"


def place_rows(rows: Sequence[DiagramRow]) -> Diagram:
    """Place the rows below each other."""
    placed_rows, y = [], _TOP
    for number, row in enumerate(rows, 1):
        place = _place_internal_row if row.direction is Direction.INTERNAL else _place_arrow_row
        placed, height = place(number, row, y)
        placed_rows.append(placed)
        y += height
    captions = [(f"+{milliseconds(row.at)}", row.caption) for row in rows]
    return Diagram(rows=placed_rows, captions=captions, height=_em(y + 0.4))


def _place_arrow_row(number: int, row: DiagramRow, y: float) -> tuple[PlacedRow, float]:
    """The row at `y`, and its height."""
    tail, head = {
        Direction.REQUEST: (_BROWSER, _DJANGO),
        Direction.API_CALL: (_DJANGO, _API),
        Direction.RESPONSE: (_DJANGO, _BROWSER),
    }[row.direction]
    is_api_call = row.direction is Direction.API_CALL
    # Labels begin at the outer lane. A second line stands below the first one, so the arrow moves down.
    lane, gap, anchor = (_API, -_GAP, "end") if is_api_call else (_BROWSER, _GAP, "start")
    lines = label_lines(row.label)
    labels = [_label(text, lane, gap, y + _LABEL + n * _LINE_HEIGHT, anchor) for n, text in enumerate(lines)]
    top, y = y, y + (len(lines) - 1) * _LINE_HEIGHT
    is_lost = is_api_call and not row.response
    arrows = [_arrow(tail, head, y + _ARROW, is_dashed=row.direction is Direction.RESPONSE, is_lost=is_lost)]
    end = y + _ARROW_HEIGHT
    for line, text in enumerate(row.details):
        labels.append(_label(text, lane, gap, y + _DETAIL + line * _LINE_HEIGHT, anchor, is_detail=True))
        end += _LINE_HEIGHT if line else _FIRST_DETAIL_HEIGHT
    if row.response:
        arrows.append(_arrow(head, tail, y + _ARROW + _RESPONSE_HEIGHT, is_dashed=True))
        labels.append(_label(row.response, lane, gap, y + _LABEL + _RESPONSE_HEIGHT, anchor))
        end += _RESPONSE_HEIGHT
    return _placed_row(number, row, tail, y + _ARROW, arrows, labels), end - top


def _place_internal_row(number: int, row: DiagramRow, y: float) -> tuple[PlacedRow, float]:
    gap = _GAP + _RADIUS
    labels = [_label(row.label, _DJANGO, gap, y + 1.65 - (0.6 if row.details else 0), "start")]
    labels += [_label(text, _DJANGO, gap, y + 2.25, "start", is_detail=True) for text in row.details]
    height = _INTERNAL_HEIGHT + (_INTERNAL_DETAIL_HEIGHT if row.details else 0)
    return _placed_row(number, row, _DJANGO, y + 1.3, [], labels), height


def _placed_row(
    number: int, row: DiagramRow, lane: int, y: float, arrows: list[Arrow], labels: list[Label]
) -> PlacedRow:
    return PlacedRow(number=number, x=f"{lane}%", y=_em(y), style=row.style.value, arrows=arrows, labels=labels)


def _arrow(tail: int, head: int, y: float, *, is_dashed: bool, is_lost: bool = False) -> Arrow:
    points_right = head > tail
    end = head - 6 if is_lost else head
    # In pixels from the middle of the lane, so that the tip ends beside the lane's line. Django's is the widest.
    tip = 3 if head == _DJANGO else 1
    points = " ".join(
        f"{-x if points_right else x},{offset}" for x, offset in ((tip, 0), (tip + 9, -4.5), (tip + 9, 4.5))
    )
    return Arrow(f"{tail}%", f"{end}%", _em(y), points, is_dashed, is_lost)


def label_lines(label: str) -> list[str]:
    """One line or two, which fit between two lanes on a phone. The caption has all of a label that is longer."""
    if len(label) <= _MAX_LINE:
        return [label]
    for end in (label.find(" /") + 1, label.rfind("/", 0, _MAX_LINE) + 1):
        first, rest = label[:end].rstrip(), label[end:]
        if first and len(first) <= _MAX_LINE and len(rest) <= _MAX_LINE:
            return [first, rest]
    return [label[:_MAX_LINE], f"…{label[1 - _MAX_LINE :]}"]


def _label(text: str, lane: int, gap: float, y: float, anchor: str, *, is_detail: bool = False) -> Label:
    return Label(text, f"{lane}%", _em(gap), _em(y), anchor, is_detail)


def _em(number: float) -> str:
    return f"{number:.2f}em"
