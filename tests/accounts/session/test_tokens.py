"""The tokens that the API issues: which are usable, and when they expire by our own clock."""

import base64
import json
import time

import jwt
import pytest
from hypothesis import example, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from accounts.exceptions import ApiMisbehaved
from accounts.session.tokens import TokenPair, User, receive_pair, unverified_claims

TEN_YEARS = 10 * 365 * 24 * 3600


def a_jwt(**claims: object) -> str:
    return jwt.encode(claims, "k" * 32, algorithm="HS256")


def a_token_of(header: bytes, payload: bytes) -> str:
    """A JWT that no library would make."""
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (header, payload, b"signature"))


def life(pair: TokenPair) -> float | None:
    """The lifetime of the access token in seconds."""
    return None if pair.access_expires_at is None else pair.access_expires_at - pair.received_at


def refresh_life(pair: TokenPair) -> float | None:
    return None if pair.refresh_expires_at is None else pair.refresh_expires_at - pair.received_at


class TestLifetime:
    @pytest.mark.parametrize("clock_error", [0, 3600, -3600, 40 * 365 * 24 * 3600, -40 * 365 * 24 * 3600])
    def test_the_clock_of_the_api_does_not_matter(self, clock_error: int) -> None:
        issued = int(time.time()) + clock_error

        pair = receive_pair(a_jwt(iat=issued, exp=issued + 300), a_jwt(iat=issued, exp=issued + 7200))

        assert life(pair) == pytest.approx(300)
        assert refresh_life(pair) == pytest.approx(7200)
        assert abs(pair.received_at - time.time()) < 60

    def test_the_expiry_in_the_response_comes_before_that_in_the_token(self) -> None:
        token = a_jwt(iat=1000, exp=1300)

        pair = receive_pair(token, token + "x", access_expires_in=60, refresh_expires_in="900")

        assert life(pair) == pytest.approx(60)
        assert refresh_life(pair) == pytest.approx(900)

    @pytest.mark.parametrize(
        ("iat", "exp", "seconds"),
        [
            (1000, 1300, 300),
            (1000.5, 1300.75, 300.25),
            ("1000", "1300", 300),
            (0, 300, 300),
            (1000, 1000, 0),
            (0, 10**15, TEN_YEARS),
            (1000, 999, None),
            (None, 1300, None),
            (1000, None, None),
            (True, 1300, None),
            ([1000], 1300, None),
            ("soon", 1300, None),
            (-5, 1300, None),
        ],
        ids=[
            "seconds",
            "fractions",
            "strings",
            "issued at zero",
            "no life at all",
            "longer than anything",
            "ends before it begins",
            "issued null",
            "expires null",
            "a truth",
            "a list",
            "words",
            "before the epoch",
        ],
    )
    def test_a_jwt_lives_from_issue_to_expiry(self, iat: object, exp: object, seconds: float | None) -> None:
        token = a_token_of(b'{"alg":"HS256"}', json.dumps({"iat": iat, "exp": exp}).encode())

        assert life(receive_pair(token, "refresh")) == (None if seconds is None else pytest.approx(seconds))

    @pytest.mark.parametrize(
        ("given", "seconds"),
        [
            (60, 60),
            ("60", 60),
            (0.5, 0.5),
            (0, None),
            (10**400, None),
            (1e300, TEN_YEARS),
            (-1, None),
            ("", None),
            ("soon", None),
            ("nan", None),
            (float("nan"), None),
            (float("inf"), None),
            (True, None),
            ([60], None),
            ({}, None),
        ],
        ids=lambda value: repr(value)[:12],
    )
    def test_a_lifetime_that_makes_no_sense_is_unknown(self, given: object, seconds: float | None) -> None:
        pair = receive_pair("opaque", "refresh", access_expires_in=given, refresh_expires_in=given)

        expected = None if seconds is None else pytest.approx(seconds)
        assert (life(pair), refresh_life(pair)) == (expected, expected)

    def test_the_lifetime_of_opaque_tokens_is_unknown(self) -> None:
        pair = receive_pair("opaque", "refresh")

        assert pair.access_seconds_left() is None
        assert pair.refresh_seconds_left() is None

    def test_the_seconds_left_go_below_zero(self) -> None:
        pair = TokenPair(
            access="a", refresh="r", received_at=0.0, access_expires_at=time.time() - 50, refresh_expires_at=1.5
        )

        left = pair.access_seconds_left()

        assert left is not None
        assert -100 < left <= -50

    @pytest.mark.parametrize(
        ("refresh", "expires_in", "is_final"),
        [(None, None, True), ("r", 700, True), ("r", 1000, False), ("newer", 1000, False), ("newer", 701, True)],
        ids=["kept", "kept, with the seconds left", "kept and extended", "renewed", "newer, with the first one's end"],
    )
    def test_a_refresh_that_extends_nothing_is_known_to_be_final(
        self, refresh: str | None, expires_in: int | None, is_final: bool
    ) -> None:
        previous = TokenPair(
            access="a",
            refresh="r",
            received_at=time.time() - 300,
            access_expires_at=time.time(),
            refresh_expires_at=time.time() + 700,
        )

        pair = receive_pair("b", refresh, access_expires_in=60, refresh_expires_in=expires_in, previous=previous)

        assert pair.refresh_is_final is is_final
        assert pair.final_expiry() == (pair.refresh_expires_at if is_final else None)
        assert previous.final_expiry() is None

    def test_a_refresh_token_that_the_access_token_outlives_is_final(self) -> None:
        pair = receive_pair("a", "r", access_expires_in=600, refresh_expires_in=600)

        assert pair.final_expiry() == pair.refresh_expires_at


class TestUsableTokens:
    @pytest.mark.parametrize(
        "token",
        [
            None,
            "",
            " ",
            5,
            True,
            ["token"],
            {"token": "x"},
            b"token",
            "two words",
            "line\r\nX-Admin: yes",
            "trailing\n",
            "tab\t",
            "nul\0",
            "naïve",
            "\ud800",
        ],
        ids=repr,
    )
    def test_an_invalid_token_is_refused(self, token: object) -> None:
        with pytest.raises(ApiMisbehaved):
            receive_pair(token, "refresh")
        with pytest.raises(ApiMisbehaved):
            receive_pair("access", token)

    def test_the_refusal_does_not_show_the_other_token(self) -> None:
        with pytest.raises(ApiMisbehaved) as caught:
            receive_pair("the-good-access-token", "a bad\nrefresh token")

        assert "the-good-access-token" not in str(caught.value)
        assert "a bad" not in str(caught.value)

    @pytest.mark.parametrize("token", ["x", "a.b-c_d~e+f/g==", "x" * 6000, "!#$%&'()*,:;<>?@[]^`{|}"])
    def test_any_visible_ascii_is_a_token(self, token: str) -> None:
        pair = receive_pair(token, token + "r")

        assert (pair.access, pair.refresh) == (token, token + "r")


class TestRefreshWithoutANewRefreshToken:
    @pytest.fixture
    def previous(self) -> TokenPair:
        return TokenPair(access="a0", refresh="r0", received_at=1.0, access_expires_at=2.0, refresh_expires_at=9e9)

    @pytest.mark.parametrize("answered", [None, "", " ", 0, False, [], "r0"], ids=repr)
    def test_the_old_one_stays_with_its_expiry(self, previous: TokenPair, answered: object) -> None:
        pair = receive_pair("a1", answered, previous=previous)

        assert (pair.access, pair.refresh, pair.refresh_expires_at) == ("a1", "r0", 9e9)

    def test_the_expiry_in_the_response_counts(self, previous: TokenPair) -> None:
        assert refresh_life(receive_pair("a1", None, refresh_expires_in=60, previous=previous)) == pytest.approx(60)

    def test_the_lifetime_of_a_kept_jwt_does_not_begin_again(self) -> None:
        token = a_jwt(iat=1000, exp=8200)
        previous = TokenPair(
            access="a0", refresh=token, received_at=1.0, access_expires_at=2.0, refresh_expires_at=time.time() + 5
        )

        assert receive_pair("a1", token, previous=previous).refresh_expires_at == previous.refresh_expires_at

    def test_a_new_one_replaces_it_with_its_expiry(self, previous: TokenPair) -> None:
        pair = receive_pair("a1", "r1", previous=previous)

        assert (pair.refresh, pair.refresh_expires_at) == ("r1", None)

    @pytest.mark.parametrize("answered", [5, True, ["r1"], "not a token"], ids=repr)
    def test_an_invalid_one_does_not_count_as_missing(self, previous: TokenPair, answered: object) -> None:
        with pytest.raises(ApiMisbehaved):
            receive_pair("a1", answered, previous=previous)


class TestClaims:
    def test_they_are_read_whatever_the_signature_and_the_expiry(self) -> None:
        claims = {"sub": "1", "exp": 1, "nbf": 10**12, "aud": "somebody else", "user": {"id": 1}}

        assert unverified_claims(a_jwt(**claims)) == claims

    @pytest.mark.parametrize(
        "token",
        [
            None,
            5,
            "",
            "opaque",
            "..",
            "a.b.c",
            a_token_of(b"{}", b"{}"),
            a_token_of(b"[]", b"{}"),
            a_token_of(b'{"alg":"none"}', b"[]"),
            a_token_of(b'{"alg":"HS256"}', b"5"),
            a_token_of(b'{"alg":"HS256"}', b"\xff\xfe"),
            a_token_of(b"\xff", b"{}"),
            a_token_of(b'{"alg":"HS256"}', b"[" * 100_000),
            a_token_of(b'{"alg":"HS256"}', b'{"exp":' + b"9" * 5000 + b"}"),
        ],
        ids=[
            "none",
            "a number",
            "empty",
            "opaque",
            "dots",
            "no base64",
            "no algorithm",
            "a list for a header",
            "a list for claims",
            "a number for claims",
            "claims are no text",
            "header is no text",
            "nested beyond all bounds",
            "a number beyond all bounds",
        ],
    )
    def test_an_invalid_jwt_has_none(self, token: object) -> None:
        assert unverified_claims(token) == {}

    @effort(deadline=None, max_examples=300)
    @given(header=st.binary(max_size=60), payload=st.binary(max_size=60), text=st.text())
    @example(header=b'{"alg":"HS256","b64":false}', payload=b"{}", text="")
    @example(header=b'{"alg":"HS256","crit":["exp"],"kid":5}', payload=b"{}", text="")
    def test_they_are_always_a_dictionary(self, header: bytes, payload: bytes, text: str) -> None:
        assert isinstance(unverified_claims(a_token_of(header, payload)), dict)
        assert isinstance(unverified_claims(text), dict)

    @effort(deadline=None, max_examples=100)
    @given(
        payload=st.dictionaries(
            st.sampled_from(["iat", "exp", "nbf", "sub", "aud", "iss", "jti", "user"]),
            st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=4),
        )
    )
    def test_the_lifetime_of_any_jwt_is_sensible_or_unknown(self, payload: dict[str, object]) -> None:
        seconds = life(receive_pair(a_token_of(b'{"alg":"HS256"}', json.dumps(payload).encode()), "refresh"))

        assert seconds is None or -1 <= seconds <= TEN_YEARS + 1


@pytest.mark.parametrize(
    ("id_", "other", "same"),
    [(7, 7, True), ("ada", "ada", True), ("ada", "grace", False), ("", "", False), (0, 0, True)],
)
def test_nobody_is_the_same_user_as_nobody(id_: int | str, other: int | str, same: bool) -> None:
    assert User(id=id_, name="Ada").has_id(other) is same
