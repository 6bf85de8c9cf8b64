"""A request as a sequence diagram: Browser, Django and API, with arrows between them, in SVG, and a caption for each.

Lengths are in em, and places across in percent, so a drawing is as wide as there is room, and its text keeps its size.
Colours come from `accounts/exchange.css`. The captions say all that the drawing shows, so to a screen reader they are
it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from accounts.models import TracedRequest
from accounts.scenes import Scene, Way, answered, highlights, milliseconds, summarize, tell
from accounts.trace import Step

_BROWSER, _DJANGO, _API = 8, 50, 92
#: What fits above an arrow on a phone.
_LONGEST_LABEL = 30
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
    """What a numbered scene looks like."""

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
class Drawing:
    """What the template needs."""

    marks: list[Mark]
    captions: list[tuple[str, str]]
    height: str


def draw(steps: Sequence[Step]) -> SafeString:
    """The drawing of one request and its captions, as HTML. Its page links to `accounts/exchange.css`."""
    return render_to_string("accounts/drawing.html", {"drawing": lay_out(tell(steps))}, using="pages")


def draw_request(traced: TracedRequest, *, is_open: bool = False, heading: str = "h2") -> SafeString:
    """A request as an item of a list: what it was, in a line, and when that is opened its drawing."""
    steps = [Step.from_json(step) for step in traced.steps]
    asked = steps[0]
    context = {
        "id": traced.exchange.hex,
        "asked": f"{asked.method} {asked.path}",
        "status": answered(steps),
        "highlights": highlights(steps),
        "took": milliseconds(steps[-1].at),
        "at": traced.at,
        "request_id": traced.request_id,
        "drawing": lay_out(tell(steps)),
        "is_open": is_open,
        "heading": heading,
    }
    return render_to_string("accounts/drawn_request.html", context, using="pages")


def announce(traced: TracedRequest) -> str:
    """A request in a line, to be spoken."""
    steps = [Step.from_json(step) for step in traced.steps]
    return f"{steps[0].method} {steps[0].path}: {summarize(steps)}"


def lay_out(scenes: Sequence[Scene]) -> Drawing:
    """Put the scenes below each other."""
    marks, y = [], _TOP
    for number, scene in enumerate(scenes, 1):
        mark, room = _place(number, scene, y)
        marks.append(mark)
        y += room
    captions = [(f"+{milliseconds(scene.at)}", scene.caption) for scene in scenes]
    return Drawing(marks=marks, captions=captions, height=_em(y + 0.4))


def _place(number: int, scene: Scene, y: float) -> tuple[Mark, float]:
    if scene.way is Way.INSIDE:
        return _place_inside(number, scene, y)
    tail, head = {Way.ASKED: (_BROWSER, _DJANGO), Way.CALLED: (_DJANGO, _API), Way.ANSWERED: (_DJANGO, _BROWSER)}[
        scene.way
    ]
    calls = scene.way is Way.CALLED
    # Words begin at the outer lane, and where there is little room they run on across Django's.
    x, anchor = (f"{_API - 2}%", "end") if calls else (f"{_BROWSER + 2}%", "start")
    lost = calls and not scene.reply
    arrows = [_arrow(tail, head, y + _ARROW, dashed=scene.way is Way.ANSWERED, lost=lost)]
    texts = [Text(shorten(scene.label), x, _em(y + _LABEL), anchor)]
    room = _ROOM["arrow"]
    if scene.detail:
        texts.append(Text(scene.detail, x, _em(y + _DETAIL), anchor, is_detail=True))
        room = _ROOM["detail"]
    if scene.reply:
        arrows.append(_arrow(head, tail, y + _ARROW + _ROOM["reply"], dashed=True))
        texts.append(Text(scene.reply, x, _em(y + _LABEL + _ROOM["reply"]), anchor))
        room += _ROOM["reply"]
    return _mark(number, scene, tail, y + _ARROW, arrows, texts), room


def _place_inside(number: int, scene: Scene, y: float) -> tuple[Mark, float]:
    x = f"{_DJANGO + 6}%"
    texts = [Text(scene.label, x, _em(y + 1.65 - (0.6 if scene.detail else 0)), "start")]
    if scene.detail:
        texts.append(Text(scene.detail, x, _em(y + 2.25), "start", is_detail=True))
    room = _ROOM["inside_detail" if scene.detail else "inside"]
    return _mark(number, scene, _DJANGO, y + 1.3, [], texts), room


def _mark(number: int, scene: Scene, lane: int, y: float, arrows: list[Arrow], texts: list[Text]) -> Mark:
    return Mark(number=number, x=f"{lane}%", y=_em(y), tone=scene.tone.value, arrows=arrows, texts=texts)


def _arrow(tail: int, head: int, at: float, *, dashed: bool, lost: bool = False) -> Arrow:
    right = head > tail
    end = head - 6 if lost else head
    # In pixels from the lane, whose own line is in between; Django's is the widest.
    tip = 3 if head == _DJANGO else 1
    points = " ".join(f"{-x if right else x},{y}" for x, y in ((tip, 0), (tip + 9, -4.5), (tip + 9, 4.5)))
    return Arrow(f"{tail}%", f"{end}%", _em(at), points, dashed, lost)


def shorten(label: str) -> str:
    """A label with what fits; the caption has all of it."""
    if len(label) <= _LONGEST_LABEL:
        return label
    half = (_LONGEST_LABEL - 1) // 2
    return f"{label[:half]}…{label[-half:]}"


def _em(number: float) -> str:
    return f"{number:.2f}em"
