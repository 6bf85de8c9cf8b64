"""The drawing of a request: every step has its place and its words, on a phone too, and nothing in it can do harm."""

import re
from dataclasses import fields
from itertools import pairwise
from uuid import uuid4
from xml.etree import ElementTree

import pytest
from django.utils import timezone

from accounts.diagram.steps import DiagramRow, Direction, diagram_rows, milliseconds, summarize
from accounts.diagram.svg import Diagram, draw_diagram, draw_request, layout_rows, shorten, summarize_request
from accounts.models import EventKind, TracedRequest
from accounts.telemetry.trace import Step, StepKind

ROTATION = [
    Step("request", 0.0, method="GET", path="/protected/"),
    Step("opened", 0.2, generation=1),
    Step("call", 1.0, method="GET", path="/protected-route", status=401, took=5.0),
    Step("refresh", 7.0, method="POST", path="/auth/refresh", status=200, took=12.0),
    Step("rotated", 20.0, generation=2, trigger="401"),
    Step("call", 21.0, method="GET", path="/protected-route", status=200, took=4.0),
    Step("cookie-set", 30.0, generation=2),
    Step("answer", 31.0, status=200),
]
#: What is part of another step's arrow, or drawn as one, and has no number of its own.
PARTS = {StepKind.OPENED, StepKind.COOKIE_SET, StepKind.COOKIE_DELETED, EventKind.API_UNAVAILABLE.value}


def svg(html: str) -> ElementTree.Element:
    """The picture, read as strictly as XML is."""
    found = re.search(r"<svg.*</svg>", html, re.DOTALL)
    assert found
    return ElementTree.fromstring(found[0])  # noqa: S314  # our own


def texts(picture: ElementTree.Element) -> list[str]:
    return [str(text.text) for text in picture.iter("text")]


def captions(html: str) -> list[str]:
    return [" ".join(re.sub("<[^>]+>", "", item).split()) for item in re.findall(r"<li>(.*?)</li>", html, re.DOTALL)]


def ems(text: str) -> float:
    return float(text.removesuffix("em"))


class TestARotation:
    def test_the_arrows_tell_what_crossed_the_wire(self) -> None:
        shown = texts(svg(draw_diagram(ROTATION)))

        assert shown == [
            *("Browser", "Django", "API"),
            *("1", "GET /protected/", "cookie, generation 1"),
            *("2", "GET /protected-route", "401 · 5.0 ms"),
            *("3", "POST /auth/refresh", "200 · 12 ms"),
            *("4", "stored", "generation 2"),
            *("5", "GET /protected-route", "200 · 4.0 ms"),
            *("6", "200 · 31 ms", "Set-Cookie, generation 2"),
        ]

    def test_the_captions_teach_what_it_means(self) -> None:
        said = captions(draw_diagram(ROTATION))

        assert len(said) == 6
        for number, words in enumerate(
            (
                "GET /protected/",
                "The token had expired, so the API said no. +1.0 ms",
                "traded the refresh token for a new pair: generation 2.",
                "It was stored before it was used",
                "Django repeated the call with the new access token, and the API answered 200.",
                "The answer carries the new session as a cookie, generation 2. +31 ms",
            )
        ):
            assert words in said[number]

    def test_arrows_lead_from_lane_to_lane(self) -> None:
        lines = [
            (line.get("x1"), line.get("x2"), line.get("class"))
            for line in svg(draw_diagram(ROTATION)).iter("line")
            if "life" not in (line.get("class") or "")
        ]

        there, back = ("50%", "92%", None), ("92%", "50%", "dashed")
        assert lines == [("8%", "50%", None), *[there, back] * 3, ("50%", "8%", "dashed")]

    def test_the_line_that_is_spoken(self) -> None:
        row = TracedRequest(trace_id=uuid4(), at=timezone.now(), steps=[step.to_json() for step in ROTATION])

        assert summarize_request(row) == "GET /protected/: 200, renewed to generation 2"


@pytest.mark.parametrize("kind", sorted({*StepKind} | {kind.value for kind in EventKind}))
def test_every_step_has_a_place_and_words(kind: str) -> None:
    step = Step(kind, 1.0, method="GET", path="/orders", status=200, took=2.0, generation=3)
    steps = [step] if kind == StepKind.REQUEST else [ROTATION[0], step]

    rows = diagram_rows(steps)

    assert len(rows) == len(steps) - (kind in PARTS)
    for row in rows:
        assert row.label
        assert row.caption[0].isupper()
        assert row.caption.endswith(".")
        assert "None" not in "".join(str(getattr(row, field.name)) for field in fields(DiagramRow))


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([Step("call", 1, path="/a", took=3000.0)], "got no answer. That costs this page, and not the session."),
        (
            [Step("call", 1, path="/a", took=1.0), Step("call", 2, path="/a", status=200, took=1.0)],
            "got no answer. It tried once more.",
        ),
        ([Step("call", 1, path="/a", status=503, took=1.0)], "the API failed: 503. The session stays."),
        ([Step("refresh", 1, took=1.0)], "That is no refusal: the session stays."),
        ([Step("refresh", 1, status=502, took=1.0)], "The API answered 502, which is no refusal"),
        ([Step("refresh", 1, status=401), Step("refused", 2)], "The API refused, in its own words: 401."),
        ([Step("refresh", 1, status=400), Step("still-valid", 2)], "still good, and spent nothing."),
        (
            [Step("refresh", 1, status=200), Step("rotated", 2, generation=1, trigger="expired")],
            "By its own clock Django knew that the access token had expired, and saved itself the 401.",
        ),
        ([Step("waited", 1, took=120.0)], "This one waited 120 ms for its result."),
        ([Step("waited", 1, took=120.0), Step("adopted", 2, generation=1)], "went on with that result: generation 1."),
        ([Step("adopted", 2, generation=1)], "or the answer that carried it was lost."),
        ([Step("confirmed", 1, generation=2)], "The browser came back with generation 2, so it has it."),
        ([Step("answer", 1, status=200), Step("body-sent", 2)], "From here on, none can be set."),
        ([Step("handed-off", 1, generation=2)], "So the body carries the new session"),
        ([Step("cookie-deleted", 1), Step("answer", 1, status=302)], "The answer deletes the cookie."),
        ([Step("opened", 1, generation=1), Step("answer", 2, status=503)], "The user is still signed in."),
        ([Step("signed-out", 1)], "The session is over: the user signed out."),
    ],
    ids=lambda case: case if isinstance(case, str) else "",
)
def test_a_caption_says_what_happened(steps: list[Step], words: str) -> None:
    assert words in " ".join(row.caption for row in diagram_rows([ROTATION[0], *steps]))


def test_a_line_says_what_is_special() -> None:
    assert summarize(ROTATION) == "200, renewed to generation 2"
    assert summarize(ROTATION[:1]) == "no answer yet"
    assert summarize([*ROTATION[:2], Step("call", 1), Step("answer", 2, status=503)]) == "503, the API gave no answer"


@pytest.mark.parametrize(
    ("number", "text"),
    [(None, ""), (0.0, "0 ms"), (0.4, "0.4 ms"), (9.94, "9.9 ms"), (10.0, "10 ms"), (2104, "2,104 ms")],
)
def test_milliseconds_are_written_for_people(number: float | None, text: str) -> None:
    assert milliseconds(number) == text


class TestTheLayout:
    @pytest.fixture
    def drawing(self) -> Diagram:
        """Every kind of row."""
        steps = [
            *ROTATION,
            *(Step(kind, 40.0, generation=3, took=2.0, status=200) for kind in ("waited", "adopted", "handed-off")),
            Step("call", 50.0, method="GET", path="/orders", took=3000.0),
            Step("still-valid", 60.0),
            Step("body-sent", 70.0),
        ]
        return layout_rows(diagram_rows(steps))

    def test_each_arrow_has_the_number_of_its_caption(self, drawing: Diagram) -> None:
        assert [mark.number for mark in drawing.marks] == list(range(1, len(drawing.captions) + 1))

    def test_nothing_covers_anything_else(self, drawing: Diagram) -> None:
        """Each thing has more than a line of text to itself, and circles are kept clear of."""
        lines = sorted(ems(text.y) for mark in drawing.marks for text in mark.texts)
        arrows = sorted(ems(arrow.y) for mark in drawing.marks for arrow in mark.arrows)
        circles = [ems(mark.y) for mark in drawing.marks]

        assert all(below - above >= 1.15 for above, below in pairwise(lines))
        assert all(below - above >= 2 for above, below in pairwise(arrows))
        for mark in drawing.marks:
            for text in mark.texts if mark.arrows else []:
                baseline = ems(text.y)
                assert not any(circle - 0.8 < baseline < circle + 0.8 + 0.7 for circle in circles), text.text
        assert max([*lines, *arrows]) < ems(drawing.height)

    def test_a_call_without_an_answer_does_not_arrive(self, drawing: Diagram) -> None:
        [lost] = [arrow for mark in drawing.marks for arrow in mark.arrows if arrow.lost]

        assert (lost.tail, lost.head) == ("50%", "86%")

    def test_a_long_path_is_shortened_and_its_caption_has_all_of_it(self) -> None:
        path = "/protected/api/" + "orders/" * 9
        html = draw_diagram([Step("request", 0.0, method="GET", path=path)])

        assert max(map(len, texts(svg(html)))) <= 30
        assert path in captions(html)[0]
        assert shorten("GET /protected/") == "GET /protected/"

    def test_who_sees_no_picture_misses_nothing(self) -> None:
        picture = svg(draw_diagram(ROTATION))

        assert (picture.get("aria-hidden"), picture.get("focusable")) == ("true", "false")


class TestHarm:
    PATH = "/<script>a</script>&\"'/"

    def test_a_path_is_text_and_nothing_else(self) -> None:
        steps = [Step("request", 0.0, method="<b>", path=self.PATH), Step("call", 1.0, path=self.PATH, status=200)]
        row = TracedRequest(
            trace_id=uuid4(), at=timezone.now(), request_id="<i>", steps=[step.to_json() for step in steps]
        )

        for html in (draw_diagram(steps), draw_request(row)):
            assert not re.search(r"<(script|b|i)\b", html)
        assert svg(draw_diagram(steps)).findall(".//text")[4].text == f"<b> {self.PATH}"

    def test_nothing_in_it_needs_more_than_the_strict_policy_allows(self) -> None:
        html = draw_diagram(ROTATION)

        assert not re.search(r"<style|<script|\sstyle=|\son\w+=|https?:", html)


def test_way_and_lanes_are_complete() -> None:
    assert {row.direction for row in diagram_rows([*ROTATION, Step("waited", 1.0, took=1.0)])} == set(Direction)
