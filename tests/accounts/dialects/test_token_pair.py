"""The token-pair dialect: which calls it builds, and how it reads responses."""

import json
from http import HTTPStatus
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from pytest_django import Settings

from accounts.dialects import current_dialect
from accounts.dialects.base import Refreshed, Refused, StillValid, Unknown, user_from
from accounts.dialects.token_pair import TokenPairDialect
from accounts.exceptions import ApiError, ApiMisbehaved, ApiUnavailable, CredentialsRefused
from accounts.session.tokens import TokenPair, User
from accounts.upstream.calls import ApiAnswer

DIALECT = TokenPairDialect()
PAIR = TokenPair(access="a0", refresh="r0", received_at=1.0, access_expires_at=2.0, refresh_expires_at=3.0)
WORDS = {"message": "The API's own words."}
GATEWAY_PAGE = b"<html><body>404 Not Found</body></html>"


def answer(status: int, body: object = None, **headers: str) -> ApiAnswer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ApiAnswer(
        status=status, headers={name.replace("_", "-"): value for name, value in headers.items()}, body=raw
    )


def access_token(**claims: object) -> str:
    return jwt.encode(claims, "k" * 32, algorithm="HS256")


class TestWhatIsSent:
    def test_sign_in(self) -> None:
        call = DIALECT.sign_in("ada@example.com", "tide-table")

        assert (call.method, call.path) == ("POST", "/auth/login")
        assert call.json == {"email": "ada@example.com", "password": "tide-table"}

    def test_the_name_of_the_users_name_can_be_set(self, settings: Settings) -> None:
        settings.API_USERNAME_FIELD = "login"

        assert DIALECT.sign_in("ada", "tide-table").json == {"login": "ada", "password": "tide-table"}

    def test_refresh_sends_both_tokens(self) -> None:
        call = DIALECT.refresh(PAIR)

        assert (call.method, call.path) == ("POST", "/auth/refresh")
        assert call.json == {"accessToken": "a0", "refreshToken": "r0"}

    def test_revocation_sends_the_refresh_token(self) -> None:
        call = DIALECT.revoke(PAIR)

        assert (call.method, call.path, call.json) == ("POST", "/auth/logout", {"refreshToken": "r0"})

    def test_it_is_the_default_and_asks_neither_early_nor_twice(self) -> None:
        dialect = current_dialect()

        assert isinstance(dialect, TokenPairDialect)
        assert (dialect.refreshes_early, dialect.replay_is_safe) == (False, False)


class DetailDialect(TokenPairDialect):
    message_field = "detail"


class TestRefresh:
    def test_a_new_pair(self) -> None:
        token = access_token(iat=1000, exp=1300)

        outcome = DIALECT.read_refresh(answer(200, {"accessToken": token, "refreshToken": "r1"}), PAIR)

        assert isinstance(outcome, Refreshed)
        assert (outcome.tokens.access, outcome.tokens.refresh) == (token, "r1")
        assert outcome.tokens.access_expires_at == pytest.approx(outcome.tokens.received_at + 300)

    def test_without_a_new_refresh_token_the_old_one_stays(self) -> None:
        outcome = DIALECT.read_refresh(answer(200, {"accessToken": "a1", "expires_in": 60}), PAIR)

        assert isinstance(outcome, Refreshed)
        assert (outcome.tokens.refresh, outcome.tokens.refresh_expires_at) == ("r0", 3.0)
        assert outcome.tokens.access_expires_at == pytest.approx(outcome.tokens.received_at + 60)

    @pytest.mark.parametrize("status", [401, 404])
    @pytest.mark.parametrize("body", [WORDS, {"message": ""}, {**WORDS, "code": 7}], ids=["words", "none", "more"])
    def test_refused(self, status: int, body: dict[str, object]) -> None:
        assert isinstance(DIALECT.read_refresh(answer(status, body), PAIR), Refused)

    @pytest.mark.parametrize("status", [200, 400, 401, 403, 404])
    @pytest.mark.parametrize("name", ["error", "code", "error_code"])
    @pytest.mark.parametrize("code", ["bad_refresh_token", "REFRESH_TOKEN_EXPIRED", "invalid_grant", "login_required"])
    def test_refused_by_code(self, status: int, name: str, code: str) -> None:
        assert DIALECT.read_refresh(answer(status, {**WORDS, name: code}), PAIR) == Refused(is_certain=True)

    @pytest.mark.parametrize("name", ["code", "error_code"])
    @pytest.mark.parametrize("status", [400, 401])
    def test_refused_by_a_code_beside_the_name_of_the_status(self, status: int, name: str) -> None:
        body = {"error": HTTPStatus(status).phrase, name: "REFRESH_TOKEN_EXPIRED"}

        assert DIALECT.read_refresh(answer(status, body), PAIR) == Refused(is_certain=True)

    @pytest.mark.parametrize(("status", "outcome"), [(400, StillValid), (401, Refused), (404, Refused)])
    def test_a_subclass_names_the_field_with_the_apis_words(self, status: int, outcome: type) -> None:
        assert isinstance(DetailDialect().read_refresh(answer(status, {"detail": "Spent."}), PAIR), outcome)
        assert isinstance(DetailDialect().read_refresh(answer(status, WORDS), PAIR), Unknown)

    def test_the_reason_names_the_field_that_is_missing(self) -> None:
        outcome = DIALECT.read_refresh(answer(401, {"detail": "Spent."}), PAIR)

        assert outcome == Unknown("status 401, without 'message' in its JSON")

    def test_still_valid(self) -> None:
        assert isinstance(DIALECT.read_refresh(answer(400, WORDS), PAIR), StillValid)

    @pytest.mark.parametrize("status", [400, 401, 404])
    @pytest.mark.parametrize(
        "body",
        [
            GATEWAY_PAGE,
            b"",
            b"\xff\xfe\x00",
            b'{"message": "cut o',
            b"null",
            b'"message"',
            b"[" * 100_000,
            [WORDS],
            {},
            {"detail": "Not found."},
            {"error": "server_error"},
            {"message": None},
            {"message": 5},
            {"message": ["words"]},
            {"Message": "words"},
        ],
        ids=[
            "a gateway's page",
            "empty",
            "no text",
            "cut off",
            "null",
            "a string",
            "nested beyond all bounds",
            "a list",
            "empty object",
            "DRF's shape",
            "OAuth's shape",
            "message null",
            "message a number",
            "message a list",
            "another case",
        ],
    )
    def test_a_refusal_in_nobodys_words_is_unknown(self, status: int, body: object) -> None:
        assert isinstance(DIALECT.read_refresh(answer(status, body), PAIR), Unknown)

    @pytest.mark.parametrize(
        "status",
        [100, 301, 302, 307, 308, 402, 403, 405, 408, 409, 410, 422, 425, 429, 500, 502, 503, 504, 599],
    )
    @pytest.mark.parametrize(
        "body", [WORDS, {"accessToken": "a1", "refreshToken": "r1"}, GATEWAY_PAGE], ids=["words", "a pair", "a page"]
    )
    def test_any_other_status_is_unknown(self, status: int, body: object) -> None:
        assert isinstance(DIALECT.read_refresh(answer(status, body), PAIR), Unknown)

    @pytest.mark.parametrize(
        "body",
        [
            GATEWAY_PAGE,
            b"",
            WORDS,
            {},
            [],
            {"refreshToken": "r1"},
            {"accessToken": None, "refreshToken": "r1"},
            {"accessToken": "", "refreshToken": "r1"},
            {"accessToken": "a1", "refreshToken": 5},
            {"accessToken": "a b", "refreshToken": "r1"},
            {"access": "a1", "refresh": "r1"},
        ],
        ids=repr,
    )
    def test_a_success_without_a_pair_is_unknown(self, body: object) -> None:
        assert isinstance(DIALECT.read_refresh(answer(200, body), PAIR), Unknown)

    @pytest.mark.parametrize("status", [200, 201, 202, 203, 206])
    def test_any_2xx_with_a_pair_is_a_success(self, status: int) -> None:
        outcome = DIALECT.read_refresh(answer(status, {"accessToken": "a1", "refreshToken": "r1"}), PAIR)

        assert isinstance(outcome, Refreshed)
        assert (outcome.tokens.access, outcome.tokens.refresh) == ("a1", "r1")

    @pytest.mark.parametrize("refresh", ["", "  ", None], ids=repr)
    def test_an_empty_refresh_token_keeps_the_old_one(self, refresh: str | None) -> None:
        outcome = DIALECT.read_refresh(answer(200, {"accessToken": "a1", "refreshToken": refresh}), PAIR)

        assert isinstance(outcome, Refreshed)
        assert (outcome.tokens.refresh, outcome.tokens.refresh_expires_at) == ("r0", 3.0)

    @pytest.mark.parametrize("expires_in", [0, "0", -1, 0.0])
    def test_a_lifetime_of_zero_is_unknown(self, expires_in: object) -> None:
        body = {"accessToken": "a1", "refreshToken": "r1", "expires_in": expires_in, "refresh_expires_in": expires_in}

        outcome = DIALECT.read_refresh(answer(200, body), PAIR)

        assert isinstance(outcome, Refreshed)
        assert (outcome.tokens.access_expires_at, outcome.tokens.refresh_expires_at) == (None, None)

    @pytest.mark.parametrize(
        ("body", "why"),
        [
            ({"accessToken": "a1", "refreshToken": 5}, "the API's response has no refresh token"),
            ({"refreshToken": "r1"}, "the API's response has no access token"),
            (
                {"accessToken": "a b", "refreshToken": "r1"},
                "the access token in the API's response has characters that no token may have",
            ),
        ],
    )
    def test_an_unknown_outcome_says_why(self, body: dict[str, object], why: str) -> None:
        assert DIALECT.read_refresh(answer(200, body), PAIR) == Unknown(why)

    @pytest.mark.parametrize("status", [429, 503])
    def test_how_long_to_wait_is_the_apis_to_say(self, status: int) -> None:
        assert DIALECT.read_refresh(answer(status, WORDS, retry_after="7"), PAIR) == Unknown(f"status {status}", 7.0)
        assert DIALECT.read_refresh(answer(status, WORDS), PAIR) == Unknown(f"status {status}", None)

    @effort(deadline=None, max_examples=300)
    @given(
        status=st.integers(100, 599).filter(lambda status: status not in (400, 401, 404)),
        body=st.one_of(
            st.binary(), st.dictionaries(st.sampled_from(["message", "accessToken"]), st.none() | st.text())
        ),
        retry_after=st.text(),
    )
    def test_no_other_answer_ends_a_session(self, status: int, body: object, retry_after: str) -> None:
        outcome = DIALECT.read_refresh(answer(status, body, retry_after=retry_after), PAIR)

        assert isinstance(outcome, Unknown | Refreshed)


class TestSignIn:
    def test_the_user_stands_in_the_access_token(self) -> None:
        token = access_token(iat=1000, exp=1300, user={"id": 7, "email": "ada@example.com"})

        signed_in = DIALECT.read_sign_in(answer(200, {"accessToken": token, "refreshToken": "r"}), "typed")

        assert signed_in.user == User(id=7, name="ada@example.com", email="ada@example.com")
        assert (signed_in.tokens.access, signed_in.tokens.refresh) == (token, "r")

    def test_with_opaque_tokens_the_user_stands_in_the_answer(self) -> None:
        body = {"accessToken": "a", "refreshToken": "r", "expires_in": 60, "user": {"id": "u-7", "name": "Ada"}}

        signed_in = DIALECT.read_sign_in(answer(200, body), "ada@example.com")

        assert signed_in.user == User(id="u-7", name="Ada", email="")
        assert signed_in.tokens.access_expires_at == pytest.approx(signed_in.tokens.received_at + 60)

    def test_an_api_that_tells_nothing_gets_the_name_that_was_typed(self) -> None:
        signed_in = DIALECT.read_sign_in(answer(200, {"accessToken": "a", "refreshToken": "r"}), "ada@example.com")

        assert signed_in.user == User(id="ada@example.com", name="ada@example.com", email="")

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
    def test_a_refusal_goes_to_the_form_in_the_apis_words(self, status: int) -> None:
        with pytest.raises(CredentialsRefused) as caught:
            DIALECT.read_sign_in(answer(status, {"message": "Wrong\x00 e-mail\x1b address " + "x" * 1000}), "ada")

        assert caught.value.message.startswith("Wrong  e-mail  address xxx")
        assert len(caught.value.message) <= 300

    def test_a_subclass_names_the_field_with_the_words_for_the_form(self) -> None:
        wrong = answer(401, {"detail": "Wrong password."})
        with pytest.raises(CredentialsRefused, match=r"Wrong password\."):
            DetailDialect().read_sign_in(wrong, "ada")
        with pytest.raises(ApiMisbehaved, match="status 401, without the API's message"):
            DIALECT.read_sign_in(wrong, "ada")

    @pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
    def test_a_sick_api_refuses_nobody(self, status: int) -> None:
        with pytest.raises(ApiUnavailable) as caught:
            DIALECT.read_sign_in(answer(status, WORDS, retry_after="7"), "ada")

        assert caught.value.retry_after == 7

    @pytest.mark.parametrize("status", [200, 201, 204, 301, 302, 307, 400, 401, 403, 404])
    @pytest.mark.parametrize("body", [GATEWAY_PAGE, b"", [], {"message": 5}], ids=["page", "empty", "list", "number"])
    def test_an_answer_in_nobodys_words_cannot_be_used(self, status: int, body: object) -> None:
        with pytest.raises(ApiMisbehaved):
            DIALECT.read_sign_in(answer(status, body), "ada")

    @effort(deadline=None, max_examples=200)
    @given(
        status=st.integers(100, 599),
        body=st.binary() | st.dictionaries(st.sampled_from(["message", "user", "accessToken"]), st.none() | st.text()),
        retry_after=st.text(),
    )
    def test_whatever_comes_nobody_is_let_in_without_a_pair(self, status: int, body: object, retry_after: str) -> None:
        with pytest.raises((CredentialsRefused, ApiError)):
            DIALECT.read_sign_in(answer(status, body, retry_after=retry_after), "ada")


class TestUser:
    @pytest.mark.parametrize(
        ("claims", "user"),
        [
            ({"id": 7, "email": "ada@example.com", "name": "Ada"}, User(id=7, name="Ada", email="ada@example.com")),
            ({"id": "u-7"}, User(id="u-7", name="typed")),
            ({"id": 0}, User(id=0, name="typed")),
            ({"name": "Zoë 王"}, User(id="typed", name="Zoë 王")),
            ({"id": True}, User(id="typed", name="typed")),
            ({"id": 1.5}, User(id="typed", name="typed")),
            ({"id": None, "email": None, "name": None}, User(id="typed", name="typed")),
            ({"id": "", "email": "", "name": ""}, User(id="typed", name="typed")),
            ({"id": " \x00"}, User(id="typed", name="typed")),
            ({"id": ["7"], "email": {"a": 1}, "name": 5}, User(id="typed", name="typed")),
            ({"name": "x" * 1000}, User(id="typed", name="x" * 255)),
            ({"id": "a\r\nb", "name": "<b>\x1b"}, User(id="a  b", name="<b>")),
            (None, User(id="typed", name="typed")),
            ("ada", User(id="typed", name="typed")),
            ([{"id": 7}], User(id="typed", name="typed")),
        ],
        ids=[
            "complete",
            "id alone",
            "zero",
            "name alone",
            "a truth for an id",
            "a fraction for an id",
            "nulls",
            "empty",
            "an id that shows nothing",
            "wrong types",
            "too long",
            "control characters",
            "nothing",
            "a string",
            "a list",
        ],
    )
    def test_what_the_api_says_of_a_user_and_else_the_name_that_was_typed(self, claims: Any, user: User) -> None:
        assert user_from(claims, "typed") == user
