"""Any text from outside is made safe to store, to send and to show."""

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from accounts.text import clean_text, duration_in_words


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("Ada Lovelace", "Ada Lovelace"),
        ("  Ada  ", "Ada"),
        ("Zoë Ångström 王 🦭", "Zoë Ångström 王 🦭"),
        ("two\r\nlines", "two  lines"),
        ("\x00\x1b[31mred\x07", "[31mred"),
        ("\u202etxt.exe", "txt.exe"),
        ("a\ud800b", "a b"),
        ("a\u00a0b\u2028c", "a b c"),
        ("\x00" * 1000, ""),
        ("", ""),
    ],
    ids=[
        "plain",
        "spaces around",
        "any script",
        "line ends",
        "terminal codes",
        "turned writing direction",
        "lone surrogate",
        "exotic spaces",
        "nothing but control characters",
        "empty",
    ],
)
def test_text_is_made_fit_to_be_shown(value: str, kept: str) -> None:
    assert clean_text(value, 300) == kept


@pytest.mark.parametrize("value", [None, 5, True, b"bytes", ["a"], {"a": "b"}, float("nan")], ids=repr)
def test_what_is_no_text_is_empty(value: object) -> None:
    assert clean_text(value, 300) == ""


def test_the_rest_of_a_long_text_is_dropped() -> None:
    assert clean_text("x" * 1_000_000, 255) == "x" * 255


@effort(deadline=None, max_examples=300)
@given(value=st.text(st.characters()), longest=st.integers(1, 50))
def test_whatever_comes_the_result_is_short_printable_and_utf8(value: str, longest: int) -> None:
    kept = clean_text(value, longest)

    assert len(kept) <= longest
    assert kept.isprintable()
    kept.encode()


def test_a_duration_has_the_largest_unit_without_a_remainder() -> None:
    seconds = (28800, 3600, 5400, 86400, 61, 0.2)

    words = [duration_in_words(number) for number in seconds]

    assert words == ["8 hours", "1 hour", "90 minutes", "1 day", "61 seconds", "1 second"]
