"""The forms of Retry-After that APIs and their proxies send."""

from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from accounts.upstream.retry_after import parse_retry_after


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("007", 7.0),
        ("60", 60.0),
        ("61", 60.0),
        ("9" * 5000, 60.0),
        ("7\x1f", 7.0),
    ],
    ids=["none", "some", "spaces", "zeros", "the limit", "beyond the limit", "absurd", "a control character"],
)
def test_a_number_is_so_many_seconds_up_to_a_minute(value: str, seconds: float) -> None:
    assert parse_retry_after(value) == seconds


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=5, minutes=45)), timezone(timedelta(hours=-11))])
def test_a_date_is_the_seconds_until_then(zone: timezone) -> None:
    seconds = parse_retry_after(format_datetime(datetime.now(zone) + timedelta(seconds=40)))

    assert seconds is not None
    assert 20 < seconds <= 40


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("Fri, 31 Dec 1999 23:59:59 GMT", 0.0),
        ("Fri, 31 Dec 2100 23:59:59 GMT", 60.0),
        ("Fri, 31 Dec 2100 23:59:59 -0000", 60.0),
        ("Friday, 31-Dec-99 23:59:59 GMT", 0.0),
        ("Fri Dec 31 23:59:59 1999", 0.0),
    ],
    ids=["past", "far ahead", "no zone", "RFC 850", "asctime"],
)
def test_a_date_counts_within_a_minute(value: str, seconds: float) -> None:
    assert parse_retry_after(value) == seconds


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        " ",
        "soon",
        "-5",
        "5.5",
        "5, 6",
        "\u0665",
        "²",
        "\x005",
        "Fri, 31 Feb 2100 23:59:59 GMT",
        "Fri, 31 Dec 2100 99:99:99 GMT",
        "Fri, 31 Dec 2100 23:59:59 +99999999",
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "Mon, 01 Jan 2100 00:00:00 -99999999999999999999",
    ],
    ids=[
        "absent",
        "empty",
        "blank",
        "words",
        "negative",
        "a fraction",
        "two",
        "other digits",
        "superscript",
        "control character",
        "no such day",
        "no such time",
        "no such zone",
        "a year beyond all numbers",
        "a zone beyond all numbers",
    ],
)
def test_anything_else_says_nothing(value: str | None) -> None:
    assert parse_retry_after(value) is None


@effort(deadline=None, max_examples=300)
@given(
    value=st.one_of(
        st.text(),
        st.integers().map(str),
        st.builds("Mon, {} Jan {} {}:00:00 {}".format, st.integers(), st.integers(), st.integers(0, 30), st.integers()),
    )
)
@example("Mon, 01 Jan 10000 00:00:00 GMT")
def test_whatever_comes_the_answer_is_a_wait_of_at_most_a_minute_or_nothing(value: str) -> None:
    seconds = parse_retry_after(value)

    assert seconds is None or 0 <= seconds <= 60
