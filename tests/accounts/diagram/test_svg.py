"""The diagram of a request: every step has a place and a caption, on a phone too, and no content runs as code."""

import re
from dataclasses import fields
from datetime import UTC, datetime
from itertools import pairwise
from uuid import uuid4
from xml.etree import ElementTree

import pytest
from django.utils import timezone
from pytest_django import Settings

from accounts.diagram.steps import DiagramRow, Direction, diagram_rows, milliseconds, summarize
from accounts.diagram.svg import (
    Diagram,
    label_lines,
    place_rows,
    render_diagram,
    render_traced_request,
    summarize_request,
)
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
#: The characters that fit between two lanes at 360 pixels.
MAX_LINE = 16
#: Steps that are a part of another step's row.
PARTS = {StepKind.OPENED, StepKind.COOKIE_SET, StepKind.COOKIE_DELETED, EventKind.API_UNAVAILABLE.value}


def svg(html: str) -> ElementTree.Element:
    """The SVG, parsed as XML."""
    found = re.search(r"<svg.*</svg>", html, re.DOTALL)
    assert found
    return ElementTree.fromstring(found[0])  # noqa: S314  # made by this site


def labels(picture: ElementTree.Element) -> list[str]:
    return [str(text.text) for text in picture.iter("text")]


def captions(html: str) -> list[str]:
    return [" ".join(re.sub("<[^>]+>", "", item).split()) for item in re.findall(r"<li>(.*?)</li>", html, re.DOTALL)]


def ems(text: str) -> float:
    return float(text.removesuffix("em"))


class TestARotation:
    def test_the_arrows_show_what_crossed_the_wire(self) -> None:
        shown = labels(svg(render_diagram(ROTATION)))

        assert shown == [
            *("Browser", "Django", "API"),
            *("1", "GET /protected/", "Cookie", "generation 1"),
            *("2", "GET", "/protected-route", "401 · 5.0 ms"),
            *("3", "POST", "/auth/refresh", "200 · 12 ms"),
            *("4", "stored", "generation 2"),
            *("5", "GET", "/protected-route", "200 · 4.0 ms"),
            *("6", "200 · 31 ms", "Set-Cookie", "generation 2"),
        ]

    def test_the_captions_explain_the_steps(self) -> None:
        found = captions(render_diagram(ROTATION))

        assert len(found) == 6
        for number, caption in enumerate(
            (
                "GET /protected/",
                "The API did not accept the token: 401. +1.0 ms",
                "traded the refresh token for a new pair: generation 2.",
                "Django stored the new token pair before using it.",
                "Django repeated the call with the new access token. The API responded with 200.",
                "The response sets the new session as a cookie, generation 2. +31 ms",
            )
        ):
            assert caption in found[number]

    def test_arrows_lead_from_lane_to_lane(self) -> None:
        lines = [
            (line.get("x1"), line.get("x2"), line.get("class"))
            for line in svg(render_diagram(ROTATION)).iter("line")
            if "life" not in (line.get("class") or "")
        ]

        there, back = ("50%", "92%", None), ("92%", "50%", "dashed")
        assert lines == [("8%", "50%", None), *[there, back] * 3, ("50%", "8%", "dashed")]

    def test_the_line_for_screen_readers(self) -> None:
        row = TracedRequest(trace_id=uuid4(), at=timezone.now(), steps=[step.to_json() for step in ROTATION])

        assert summarize_request(row) == "GET /protected/: 200, rotated to generation 2"


#: These end another session than that of the request.
UNTRACED = {EventKind.ENDED_ELSEWHERE, EventKind.BY_PROVIDER}


@pytest.mark.parametrize("kind", sorted({*StepKind} | {kind.value for kind in EventKind} - UNTRACED))
def test_every_step_has_a_place_and_a_caption(kind: str) -> None:
    step = Step(kind, 1.0, method="GET", path="/orders", status=200, took=2.0, generation=3)
    steps = [step] if kind == StepKind.REQUEST else [ROTATION[0], step]

    rows = diagram_rows(steps)

    assert len(rows) == len(steps) - (kind in PARTS)
    for row in rows:
        assert row.label
        assert row.caption[0].isupper()
        assert row.caption.endswith(".")
        assert max(map(len, [*row.details, row.response, *label_lines(row.label)])) <= MAX_LINE
        assert "None" not in "".join(str(getattr(row, field.name)) for field in fields(DiagramRow))


@pytest.mark.parametrize(
    ("steps", "caption"),
    [
        ([Step("call", 1, path="/a", took=3000.0)], "got no response. This page fails, and the session stays."),
        (
            [Step("call", 1, path="/a", took=1.0), Step("call", 2, path="/a", status=200, took=1.0)],
            "got no response. Django tried again.",
        ),
        (
            [Step("call", 1, path="/a", status=401), Step("call", 2, path="/a", status=200)],
            "The API did not accept the token: 401.",
        ),
        ([Step("call", 1, path="/a", status=503, took=1.0)], "The API failed with 503. The session stays."),
        ([Step("refresh", 1, took=1.0)], "This is not a refusal: the session stays."),
        ([Step("refresh", 1, status=502, took=1.0)], "The API responded with 502. This is not a refusal"),
        ([Step("refresh", 1, status=401), Step("refused", 2)], "The API refused the refresh token: 401."),
        ([Step("refresh", 1, status=400), Step("still-valid", 2)], "still valid, and did not spend the refresh token."),
        (
            [Step("refresh", 1, status=200), Step("rotated", 2, generation=1, trigger="expired")],
            "The access token had expired by Django's clock, so Django did not try it first. Django traded",
        ),
        ([Step("waited", 1, took=120.0)], "This request waited 120 ms for the result."),
        (
            [Step("waited", 1, took=120.0), Step("adopted", 2, generation=1)],
            "continued with that result: generation 1.",
        ),
        ([Step("adopted", 2, generation=1)], "or the response that carried it was lost."),
        ([Step("confirmed", 1, generation=2)], "The browser presented generation 2, so it has that cookie."),
        ([Step("answer", 1, status=200), Step("body-sent", 2)], "The body follows, and can set no cookie."),
        ([Step("handed-off", 1, generation=2)], "The body carries a session update instead: the new session"),
        ([Step("cookie-deleted", 1), Step("answer", 1, status=302)], "The response deletes the cookie."),
        ([Step("opened", 1, generation=1), Step("answer", 2, status=503)], "The user is still signed in."),
        ([Step("signed-out", 1)], "The session has ended: the user signed out."),
    ],
    ids=lambda case: case if isinstance(case, str) else "",
)
def test_a_caption_says_what_happened(steps: list[Step], caption: str) -> None:
    assert caption in " ".join(row.caption for row in diagram_rows([ROTATION[0], *steps]))


def test_a_call_that_fails_with_one_query_and_not_with_the_next_is_not_about_a_nonce(settings: Settings) -> None:
    settings.OAUTH_DPOP = True
    steps = [Step("call", 1, path="/a", status=400), Step("call", 2, path="/a", status=200)]

    assert "nonce" not in " ".join(row.caption for row in diagram_rows([ROTATION[0], *steps]))


def test_the_summary_has_what_happened_to_the_session() -> None:
    assert summarize(ROTATION) == "200, rotated to generation 2"
    assert summarize(ROTATION[:1]) == "no response yet"
    assert summarize([*ROTATION[:2], Step("call", 1), Step("answer", 2, status=503)]) == "503, the API did not respond"


@pytest.mark.parametrize(
    ("number", "text"),
    [(None, ""), (0.0, "0 ms"), (0.4, "0.4 ms"), (9.94, "9.9 ms"), (10.0, "10 ms"), (2104, "2,104 ms")],
)
def test_milliseconds_are_written_for_people(number: float | None, text: str) -> None:
    assert milliseconds(number) == text


class TestTheLayout:
    @pytest.fixture
    def diagram(self) -> Diagram:
        """One with every kind of row."""
        steps = [
            *ROTATION,
            *(Step(kind, 40.0, generation=3, took=2.0, status=200) for kind in ("waited", "adopted", "handed-off")),
            Step("call", 50.0, method="GET", path="/orders", took=3000.0),
            Step("still-valid", 60.0),
            Step("body-sent", 70.0),
            Step("body-left", 80.0),
        ]
        return place_rows(diagram_rows(steps))

    def test_each_arrow_has_the_number_of_its_caption(self, diagram: Diagram) -> None:
        assert [row.number for row in diagram.rows] == list(range(1, len(diagram.captions) + 1))

    def test_nothing_covers_anything_else(self, diagram: Diagram) -> None:
        """Labels and arrows are more than a line of text apart, and labels do not touch the circles."""
        lines = sorted(ems(text.y) for row in diagram.rows for text in row.labels)
        arrows = sorted(ems(arrow.y) for row in diagram.rows for arrow in row.arrows)
        circles = [ems(row.y) for row in diagram.rows]

        assert all(below - above >= 1.15 for above, below in pairwise(lines))
        assert all(below - above >= 2 for above, below in pairwise(arrows))
        for row in diagram.rows:
            for text in row.labels if row.arrows else []:
                baseline = ems(text.y)
                assert not any(circle - 0.8 < baseline < circle + 0.8 + 0.7 for circle in circles), text.text
        assert max([*lines, *arrows]) < ems(diagram.height)

    def test_the_arrow_of_a_lost_call_does_not_arrive(self, diagram: Diagram) -> None:
        [lost] = [arrow for row in diagram.rows for arrow in row.arrows if arrow.is_lost]

        assert (lost.tail, lost.head) == ("50%", "86%")

    @pytest.mark.parametrize(
        ("label", "lines"),
        [
            ("GET /protected/", ["GET /protected/"]),
            ("GET /protected-route", ["GET", "/protected-route"]),
            ("100 calls: GET /protected-route", ["100 calls: GET", "/protected-route"]),
            ("POST /accounts/session/update/", ["POST /accounts/", "session/update/"]),
            ("GET /orders/2026/november/export.csv", ["GET /orders/2026", "…mber/export.csv"]),
            ("x" * 40, ["x" * MAX_LINE, "…" + "x" * (MAX_LINE - 1)]),
        ],
    )
    def test_a_label_has_lines_that_fit_between_two_lanes(self, label: str, lines: list[str]) -> None:
        assert label_lines(label) == lines

    def test_a_long_path_is_shortened_and_its_caption_has_all_of_it(self) -> None:
        path = "/protected/api/" + "orders/" * 9
        html = render_diagram([Step("request", 0.0, method="GET", path=path)])

        assert max(map(len, labels(svg(html)))) <= MAX_LINE
        assert path in captions(html)[0]

    def test_screen_readers_skip_the_picture(self) -> None:
        picture = svg(render_diagram(ROTATION))

        assert (picture.get("aria-hidden"), picture.get("focusable")) == ("true", "false")


def test_the_time_of_a_request_is_in_the_zone_of_the_site() -> None:
    row = TracedRequest(trace_id=uuid4(), at=datetime(2026, 11, 30, 12, 0, tzinfo=UTC), steps=[ROTATION[0].to_json()])

    with timezone.override("Asia/Tokyo"):
        assert ">21:00:00 JST</time>" in render_traced_request(row)


class TestHarm:
    PATH = "/<script>a</script>&\"'/"

    def test_a_path_is_text_and_nothing_else(self) -> None:
        steps = [Step("request", 0.0, method="<b>", path=self.PATH), Step("call", 1.0, path=self.PATH, status=200)]
        row = TracedRequest(
            trace_id=uuid4(), at=timezone.now(), request_id="<i>", steps=[step.to_json() for step in steps]
        )

        for html in (render_diagram(steps), render_traced_request(row)):
            assert not re.search(r"<(script|b|i)\b", html)
        assert "".join(labels(svg(render_diagram(steps)))[4:6]) == f"<b> {self.PATH}"

    def test_nothing_in_it_needs_more_than_the_strict_policy_allows(self) -> None:
        html = render_diagram(ROTATION)

        assert not re.search(r"<style|<script|\sstyle=|\son\w+=|https?:", html)


def test_every_direction_occurs() -> None:
    assert {row.direction for row in diagram_rows([*ROTATION, Step("waited", 1.0, took=1.0)])} == set(Direction)
