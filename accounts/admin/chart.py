"""The drawing of rotations by the hour: SVG made on the server, which a strict Content-Security-Policy lets through.

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
#: One among a thousand is to be seen.
_LOWEST_BAR = 2.0
_HOURS_A_LABEL = 3


class Outcome(NamedTuple):
    """What can come of a rotation; `name` is its class in the style sheet."""

    name: str
    label: str
    kinds: tuple[EventKind, ...]


OUTCOMES = (
    Outcome("rotated", "rotated", (EventKind.ROTATED, EventKind.UNSTORED)),
    Outcome("adopted", "adopted after a lost answer", (EventKind.ADOPTED,)),
    Outcome("api-away", "the API was away", (EventKind.API_UNAVAILABLE,)),
    Outcome("refused", "refused by the API", (EventKind.REFUSED,)),
)


def count_outcomes(hour: Hour) -> list[int]:
    """How often each of OUTCOMES came of a rotation in that hour."""
    return [sum(hour.counts.get(kind, 0) for kind in outcome.kinds) for outcome in OUTCOMES]


def draw_rotations(hours: Sequence[Hour]) -> SafeString:
    """A bar for each hour, in which the outcomes are stacked. Its text says the sums; a table has to say the rest."""
    counts = [count_outcomes(hour) for hour in hours]
    highest = max(map(sum, counts), default=0)
    base = _TOP + _HEIGHT
    bars = format_html_join(
        "",
        '<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>',
        (
            (outcome.name, _LEFT + slot * _SLOT, f"{y:.1f}", _BAR, f"{height:.1f}")
            for slot, numbers in enumerate(counts)
            for outcome, y, height in _stack(numbers, highest, base)
        ),
    )
    labels = format_html_join(
        "",
        '<text x="{}" y="{}" text-anchor="middle">{}</text>',
        (
            (_LEFT + slot * _SLOT + _BAR // 2, base + _BELOW - 8, f"{timezone.localtime(hour.at):%H:%M}")
            for slot, hour in enumerate(hours)
            if slot % _HOURS_A_LABEL == 0
        ),
    )
    width = _LEFT + len(hours) * _SLOT
    return format_html(
        '<svg class="rotations" role="img" aria-labelledby="rotations-title rotations-text"'
        ' viewBox="0 0 {width} {height}">'
        '<title id="rotations-title">Rotations an hour, by outcome</title><desc id="rotations-text">{text}</desc>'
        '<path class="axis" d="M{left} {top}H{width}M{left} {base}H{width}"/>'
        '<text x="{beside}" y="{upper}" text-anchor="end">{highest}</text>'
        '<text x="{beside}" y="{lower}" text-anchor="end">0</text>{bars}{labels}</svg>',
        width=width,
        height=base + _BELOW,
        text=_describe(hours, counts),
        left=_LEFT,
        beside=_LEFT - 6,
        top=_TOP,
        upper=_TOP + 4,
        base=base,
        lower=base + 4,
        highest=f"{highest:,}",
        bars=bars,
        labels=labels,
    )


def _stack(numbers: list[int], highest: int, base: float) -> list[tuple[Outcome, float, float]]:
    """Where the pieces of one bar lie, from the bottom: each outcome that there was, with its top and its height."""
    pieces = []
    for outcome, number in zip(OUTCOMES, numbers, strict=True):
        if number:
            height = max(_LOWEST_BAR, _HEIGHT * number / highest)
            base -= height
            pieces.append((outcome, base, height))
    return pieces


def _describe(hours: Sequence[Hour], counts: list[list[int]]) -> str:
    sums = [sum(column) for column in zip(*counts, strict=True)]
    if not any(sums):
        return "No session was rotated in these hours."
    said = ", ".join(f"{number:,} {outcome.label}" for outcome, number in zip(OUTCOMES, sums, strict=True))
    return f"Since {timezone.localtime(hours[0].at):%H:%M %Z}, {len(hours)} hours: {said}."
