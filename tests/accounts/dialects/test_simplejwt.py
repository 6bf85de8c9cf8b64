"""The simplejwt dialect: how it reads responses."""

import json

import jwt
import pytest
from pytest_django import Settings

from accounts.dialects import current_dialect
from accounts.dialects.base import Refreshed, Refused, Unknown
from accounts.dialects.simplejwt import SimpleJwtDialect
from accounts.exceptions import ApiMisbehaved, ApiUnavailable, CredentialsRefused
from accounts.session.tokens import TokenPair, User
from accounts.upstream.calls import ApiAnswer

DIALECT = SimpleJwtDialect()
PAIR = TokenPair(access="a0", refresh="r0", received_at=1.0, access_expires_at=2.0, refresh_expires_at=3.0)
NOT_VALID = {"detail": "Token is blacklisted", "code": "token_not_valid"}
DETAIL = {"detail": "No active account found with the given credentials"}
SCHEME = 'Bearer realm="api"'
OTHER_STATUSES = [301, 302, 402, 405, 408, 409, 410, 415, 422, 425, 429, 500, 502, 503, 504]


def answer(status: int, body: object = None, **headers: str) -> ApiAnswer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ApiAnswer(status=status, headers=named, body=raw)


def token(**claims: object) -> str:
    return jwt.encode(claims, "k" * 32, algorithm="HS256")


class TestRefresh:
    def test_a_new_pair(self) -> None:
        access, refresh = token(iat=1000, exp=1300), token(iat=1000, exp=2800)

        outcome = DIALECT.read_refresh(answer(200, {"access": access, "refresh": refresh}), PAIR)

        assert isinstance(outcome, Refreshed)
        tokens = outcome.tokens
        assert (tokens.access, tokens.refresh) == (access, refresh)
        assert tokens.access_expires_at == pytest.approx(tokens.received_at + 300)
        assert tokens.refresh_expires_at == pytest.approx(tokens.received_at + 1800)

    @pytest.mark.parametrize(
        "body", [{"access": "a1"}, {"access": "a1", "refresh": None}, {"access": "a1", "refresh": ""}], ids=str
    )
    def test_without_a_new_refresh_token_the_old_one_stays(self, body: dict[str, object]) -> None:
        outcome = DIALECT.read_refresh(answer(200, body), PAIR)

        assert isinstance(outcome, Refreshed)
        assert (outcome.tokens.access, outcome.tokens.refresh, outcome.tokens.refresh_expires_at) == ("a1", "r0", 3.0)

    @pytest.mark.parametrize(
        "body",
        [NOT_VALID, {"code": "token_not_valid"}, {**NOT_VALID, "messages": [{"token_class": "AccessToken"}]}],
        ids=["spent", "without words", "with more"],
    )
    def test_a_token_that_is_not_valid_is_refused(self, body: dict[str, object]) -> None:
        assert isinstance(DIALECT.read_refresh(answer(401, body), PAIR), Refused)

    def test_so_is_a_user_who_may_not_sign_in_any_more(self) -> None:
        assert isinstance(DIALECT.read_refresh(answer(401, DETAIL, www_authenticate=SCHEME), PAIR), Refused)

    @pytest.mark.parametrize(
        ("body", "headers"),
        [
            (DETAIL, {}),
            (DETAIL, {"www_authenticate": 'Basic realm="gateway"'}),
            ({"detail": ""}, {"www_authenticate": SCHEME}),
            ({"detail": ["No."]}, {"www_authenticate": SCHEME}),
            ({"message": "No."}, {"www_authenticate": SCHEME}),
            ({**DETAIL, "code": "user_not_found"}, {"www_authenticate": SCHEME}),
            ({**DETAIL, "code": "authentication_failed"}, {}),
            ({"code": ["token_not_valid"]}, {}),
            ([NOT_VALID], {}),
            (b"<h1>token_not_valid</h1>", {"www_authenticate": SCHEME}),
            (b"", {"www_authenticate": SCHEME}),
            (b"[" * 100_000, {"www_authenticate": SCHEME}),
        ],
        ids=[
            "words without a scheme",
            "another scheme",
            "no words",
            "words in a list",
            "another API's words",
            "another code",
            "another code without a scheme",
            "a code in a list",
            "a list",
            "HTML",
            "empty",
            "nested beyond measure",
        ],
    )
    def test_a_401_in_nobodys_words_is_unknown(self, body: object, headers: dict[str, str]) -> None:
        assert isinstance(DIALECT.read_refresh(answer(401, body, **headers), PAIR), Unknown)

    @pytest.mark.parametrize("status", [200, 201, 204, 400, 403, 404])
    def test_the_code_is_a_refusal_with_other_statuses_too(self, status: int) -> None:
        assert DIALECT.read_refresh(answer(status, NOT_VALID), PAIR) == Refused(is_certain=True)

    @pytest.mark.parametrize("status", [201, 202, 203, 204, 206])
    def test_any_2xx_with_a_pair_is_a_success(self, status: int) -> None:
        outcome = DIALECT.read_refresh(answer(status, {"access": "a1", "refresh": "r1"}), PAIR)

        assert isinstance(outcome, Refreshed)
        assert (outcome.tokens.access, outcome.tokens.refresh) == ("a1", "r1")

    @pytest.mark.parametrize("status", OTHER_STATUSES)
    @pytest.mark.parametrize("body", [NOT_VALID, {"access": "a1", "refresh": "r1"}], ids=["a refusal", "a pair"])
    def test_so_is_any_other_status(self, status: int, body: dict[str, str]) -> None:
        assert isinstance(DIALECT.read_refresh(answer(status, body, www_authenticate=SCHEME), PAIR), Unknown)

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"refresh": "r1"},
            {"access": 5},
            {"access": ""},
            {"access": "a 1"},
            {"access": "a1", "refresh": 5},
            {"access": "a1", "refresh": "r\n1"},
            {"access_token": "a1"},
            b"<h1>Welcome</h1>",
        ],
        ids=str,
    )
    def test_so_is_a_200_without_a_pair(self, body: object) -> None:
        assert isinstance(DIALECT.read_refresh(answer(200, body), PAIR), Unknown)

    def test_when_to_come_again_is_passed_on(self) -> None:
        outcome = DIALECT.read_refresh(answer(429, {"detail": "Throttled."}, retry_after="7"), PAIR)

        assert isinstance(outcome, Unknown)
        assert outcome.retry_after == 7


class TestSignIn:
    @pytest.mark.parametrize(
        ("claims", "user"),
        [
            ({"user_id": 7}, User(id=7, name="ada", email="")),
            ({"user_id": "7"}, User(id="7", name="ada", email="")),
            ({"user_id": "0b6c-4d"}, User(id="0b6c-4d", name="ada", email="")),
            ({"user_id": 7, "username": "ada.l"}, User(id=7, name="ada.l", email="")),
            (
                {"user_id": 7, "name": "Ada", "email": "ada@example.com"},
                User(id=7, name="Ada", email="ada@example.com"),
            ),
            ({"id": 7}, User(id="ada", name="ada", email="")),
        ],
        ids=["a number", "a number as text", "a UUID", "a user name", "a name and an address", "no id"],
    )
    def test_who_it_is(self, claims: dict[str, object], user: User) -> None:
        signed_in = DIALECT.read_sign_in(answer(200, {"access": token(**claims), "refresh": "r"}), "ada")

        assert signed_in.user == user

    def test_what_was_typed_is_the_address_where_users_sign_in_with_it(self, settings: Settings) -> None:
        settings.API_USERNAME_FIELD = "email"

        signed_in = DIALECT.read_sign_in(answer(200, {"access": token(user_id=7), "refresh": "r"}), "ada@example.com")

        assert signed_in.user == User(id=7, name="ada@example.com", email="ada@example.com")

    @pytest.mark.parametrize(
        ("status", "body", "words"),
        [
            (401, DETAIL, DETAIL["detail"]),
            (403, {"detail": "Not from here."}, "Not from here."),
            (400, {"username": ["This field may not be blank."]}, "This field may not be blank."),
            (400, {"non_field_errors": ["No.", "Not at all."]}, "No."),
            (400, {"code": 5, "otp": [{"odd": 1}], "password": ["Too old."]}, "Too old."),
        ],
        ids=["wrong", "forbidden", "a field", "no field", "a field among others"],
    )
    def test_a_refusal_is_in_the_apis_words(self, status: int, body: object, words: str) -> None:
        with pytest.raises(CredentialsRefused) as refused:
            DIALECT.read_sign_in(answer(status, body), "ada")

        assert refused.value.message == words

    @pytest.mark.parametrize(
        "words", ["a\x00b\nc", "a\ud800b", "x" * 5000], ids=["control characters", "half a character", "very long"]
    )
    @pytest.mark.parametrize("place", ["detail", "username"])
    def test_its_words_are_made_fit_to_be_shown(self, place: str, words: str) -> None:
        body = {"detail": words} if place == "detail" else {place: [words]}

        with pytest.raises(CredentialsRefused) as refused:
            DIALECT.read_sign_in(answer(400, body), "ada")

        assert refused.value.message.isprintable()
        assert len(refused.value.message) <= 300

    @pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
    def test_an_unavailable_api(self, status: int) -> None:
        with pytest.raises(ApiUnavailable):
            DIALECT.read_sign_in(answer(status, {"detail": "Later."}), "ada")

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (200, {}),
            (200, {"access": "a"}),
            (200, {"refresh": "r"}),
            (200, {"access": 1, "refresh": 2}),
            (200, b"<h1>Welcome</h1>"),
            (401, b"<h1>Unauthorized</h1>"),
            (404, {}),
            (302, {}),
            (200, {"access": "a", "refresh": "r", "error": "server_error"}),
        ],
        ids=str,
    )
    def test_an_answer_that_cannot_be_used(self, status: int, body: object) -> None:
        with pytest.raises(ApiMisbehaved):
            DIALECT.read_sign_in(answer(status, body), "ada")


def test_it_asks_early_and_never_twice(settings: Settings) -> None:
    settings.API_DIALECT = "simplejwt"

    dialect = current_dialect()

    assert isinstance(dialect, SimpleJwtDialect)
    assert (dialect.refreshes_early, dialect.replay_is_safe) == (True, False)
