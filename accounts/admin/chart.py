"""The chart of rotations per hour: SVG made on the server, which a strict Content-Security-Policy allows.

Colours come from classes (`accounts/admin.css`), so that they follow the admin's theme.
"""

from collections.abc import Sequence
from typing import NamedTuple

from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from accounts.admin.statistics import Hour
from accounts.models import EventKind

_LEFT, _TOP, _HEIGHT, _SLOT, _BAR, _BELOW = 56, 14, 120, 27, 20, 24
#: A single event among thousands stays visible.
_MIN_BAR = 2.0
_HOURS_PER_LABEL = 3


class Outcome(NamedTuple):
    """An outcome of a rotation; `name` is its class in the style sheet."""

    name: str
    label: str
    kinds: tuple[EventKind, ...]


OUTCOMES = (
    Outcome("rotated", "rotated", (EventKind.ROTATED, EventKind.UNSTORED)),
    Outcome("picked-up", "picked up from the record", (EventKind.ADOPTED,)),
    Outcome("unavailable", "API unavailable", (EventKind.API_UNAVAILABLE,)),
    Outcome("refused", "refused by the API", (EventKind.REFUSED,)),
)


def count_outcomes(hour: Hour) -> list[int]:
    """How many rotations of that hour had each of OUTCOMES."""
    return [sum(hour.counts.get(kind, 0) for kind in outcome.kinds) for outcome in OUTCOMES]


def render_chart(hours: Sequence[Hour]) -> SafeString:
    """One bar per hour, with the outcomes stacked. The description has the sums; the page adds a table of the hours.

    Empty if no session was rotated.
    """
    counts = [count_outcomes(hour) for hour in hours]
    highest = max(map(sum, counts), default=0)
    if not highest:
        return SafeString("")
    base = _TOP + _HEIGHT
    return format_html(
        '<svg class="rotations" role="img" aria-labelledby="rotations-title rotations-text"'
        ' viewBox="0 0 {width} {height}">'
        '<title id="rotations-title">Rotations per hour, by outcome</title><desc id="rotations-text">{text}</desc>'
        '<path class="axis" d="M{left} {top}H{width}M{left} {base}H{width}"/>'
        '<text x="{beside}" y="{upper}" text-anchor="end">{highest}</text>'
        '<text x="{beside}" y="{lower}" text-anchor="end">0</text>{bars}{labels}</svg>',
        width=_LEFT + len(hours) * _SLOT,
        height=base + _BELOW,
        text=_describe(hours, counts),
        left=_LEFT,
        beside=_LEFT - 6,
        top=_TOP,
        upper=_TOP + 4,
        base=base,
        lower=base + 4,
        highest=f"{highest:,}",
        bars=_bars(counts, highest, base),
        labels=_hour_labels(hours, base + _BELOW - 8),
    )


def _bars(counts: list[list[int]], highest: int, base: float) -> SafeString:
    return format_html_join(
        "",
        '<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>',
        (
            (outcome.name, _LEFT + slot * _SLOT, f"{y:.1f}", _BAR, f"{height:.1f}")
            for slot, numbers in enumerate(counts)
            for outcome, y, height in _stack(numbers, highest, base)
        ),
    )


def _hour_labels(hours: Sequence[Hour], y: float) -> SafeString:
    return format_html_join(
        "",
        '<text x="{}" y="{}" text-anchor="middle">{}</text>',
        (
            (_LEFT + slot * _SLOT + _BAR // 2, y, f"{timezone.localtime(hour.at):%H:%M}")
            for slot, hour in enumerate(hours)
            if slot % _HOURS_PER_LABEL == 0
        ),
    )


def _stack(numbers: list[int], highest: int, base: float) -> list[tuple[Outcome, float, float]]:
    """The pieces of one bar from the bottom: each outcome that occurred, with its top and its height."""
    pieces = []
    for outcome, number in zip(OUTCOMES, numbers, strict=True):
        if number:
            height = max(_MIN_BAR, _HEIGHT * number / highest)
            base -= height
            pieces.append((outcome, base, height))
    return pieces


def _describe(hours: Sequence[Hour], counts: list[list[int]]) -> str:
    sums = [sum(column) for column in zip(*counts, strict=True)]
    totals = ", ".join(f"{number:,} {outcome.label}" for outcome, number in zip(OUTCOMES, sums, strict=True))
    return f"Since {timezone.localtime(hours[0].at):%H:%M %Z}, {len(hours)} hours: {totals}."
