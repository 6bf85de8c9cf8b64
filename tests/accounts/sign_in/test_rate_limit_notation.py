"""How limits are written in the settings, and the rows that count them, which outlive an update."""

import pytest
from pytest_django import Settings

from accounts.exceptions import CredentialsRefused
from accounts.models.attempt_count import AttemptCount
from accounts.sign_in.rate_limit import RateLimit, parse_limits, rate_limited_attempt

DAY = 24 * 3600


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("", []),
        ("  ", []),
        ("20/10 minutes", [(20, 600)]),
        ("50/hour", [(50, 3600)]),
        ("1/second", [(1, 1)]),
        ("1/day", [(1, DAY)]),
        ("1/month", [(1, 30 * DAY)]),
        ("1/year", [(1, 360 * DAY)]),
        ("10 per 2 hours", [(10, 7200)]),
        ("10per2hours", [(10, 7200)]),
        (" 5 / 3 SECONDS ", [(5, 3)]),
        ("5 PER Minutes", [(5, 60)]),
        ("10/0 minutes", [(10, 60)]),
        ("20/10 minutes; 100/day", [(20, 600), (100, DAY)]),
        ("1/second,2/minute|3/2 years", [(1, 1), (2, 60), (3, 720 * DAY)]),
    ],
)
def test_limits(text: str, limits: list[tuple[int, int]]) -> None:
    assert [(limit.amount, limit.seconds) for limit in parse_limits(text)] == limits


@pytest.mark.parametrize(
    "text",
    [
        *("20", "twenty", "/minute", "20/", "20/10", "10/10m", "-1/minute", "1.5/minute", "10/minutess", "10/week"),
        *("10/minute;", ";10/minute", "10/minute; soon", "10/minute 5/hour", "10 a minute", "\u0663/minute"),
    ],
)
def test_what_is_no_limit(text: str) -> None:
    with pytest.raises(ValueError, match="is not a limit such as '20/10 minutes'"):
        parse_limits(text)


class TestRowsOfEarlierReleases:
    """Those used the library `limits`. The digests are what its keys became under this SECRET_KEY."""

    @pytest.fixture(autouse=True)
    def secret_key(self, settings: Settings, transactional_db: None) -> None:
        settings.SECRET_KEY = "pinned-" + "k" * 50
        settings.SIGN_IN_LIMIT_PER_ADDRESS = "50/hour"
        settings.SIGN_IN_LIMIT_PER_USER = "20/10 minutes"
        settings.SIGN_IN_LIMIT_PER_USER_ANYWHERE = "10 per 2 DAYS"

    def test_failures_keep_their_rows(self) -> None:
        with rate_limited_attempt("198.51.100.7", "Ada"):
            """A success: no row counts a failure, and the place is known."""
        others = set(AttemptCount.objects.values_list("key", flat=True))

        with pytest.raises(CredentialsRefused), rate_limited_attempt("198.51.100.8", "Ada"):
            raise CredentialsRefused("no")
        with pytest.raises(CredentialsRefused), rate_limited_attempt("198.51.100.7", "Ada"):
            raise CredentialsRefused("no")

        assert {
            "324022da0c83e4326d8bc4927a81a6bf146341806b2f5d24e1be9e847cc1ea53",  # address/198.51.100.7/50/1/hour
            "73dadf178f2fa53859b619f0e9ab6d5ec0474fee8bc6a752f2ccc4b3928115f3",  # user/api/ada/.../20/10/minute
            "08ae0ef1d2a3c18a6090ccd10334fc6c79f9789acd37632faaef4c771dbb6322",  # anywhere/api/ada/10/2/day
        } <= set(AttemptCount.objects.values_list("key", flat=True)) - others

    def test_known_places_do_not(self) -> None:
        """Earlier releases made a place known for similar names too."""
        with rate_limited_attempt("198.51.100.7", "Ada"):
            """The API accepts the password."""

        assert not AttemptCount.objects.filter(
            key="a0d66b83943ef9c152c94827b9c9dd58f1027a0a847db59608989bd6866483d6"  # known/api/ada/198.51.100.7
        ).exists()

    def test_a_limit_with_several_units(self) -> None:
        key = RateLimit(amount=10, multiples=2, unit="day").key_for("anywhere", "staff", "ada")

        assert key == "LIMITER/anywhere/staff/ada/10/2/day"
