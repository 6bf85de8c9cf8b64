"""The oauth2 dialect: how it reads the responses to a refresh, and which token pairs it accepts."""

import json
import logging

import jwt
import pytest

from accounts.dialects import current_dialect
from accounts.dialects.base import Refreshed, Refused, Unknown
from accounts.dialects.oauth2 import OAuth2Dialect
from accounts.session.tokens import TokenPair
from accounts.upstream.calls import ApiAnswer
from tests.accounts.at_provider import begin
from tests.accounts.odd_provider import REALM, TOKEN, OddProvider
from tests.browsers import Browser

DIALECT = OAuth2Dialect()
PAIR = TokenPair(access="a0", refresh="r0", received_at=1.0, access_expires_at=2.0, refresh_expires_at=3.0)
TOKENS = {"access_token": "a1", "refresh_token": "r1", "token_type": "Bearer", "expires_in": 60}
DECADE = 10 * 365 * 24 * 3600


def answer(status: int, body: object = None, **headers: str) -> ApiAnswer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ApiAnswer(status=status, headers=named, body=raw)


def refreshed(**changes: object) -> TokenPair:
    """The pair in a response with these changes. None leaves a field out."""
    body = {name: value for name, value in {**TOKENS, **changes}.items() if value is not None}
    outcome = DIALECT.read_refresh(answer(200, body), PAIR)
    assert isinstance(outcome, Refreshed), f"not Refreshed, but {outcome!r}"
    return outcome.tokens


def token_for(seconds: int) -> str:
    return jwt.encode({"iat": 1000, "exp": 1000 + seconds}, "k" * 32, algorithm="HS256")


class TestTheCall:
    def test_a_refresh_is_a_form(self, odd_provider: OddProvider, newcomer: Browser) -> None:
        newcomer.get(odd_provider.come_back(begin(newcomer)))
        spent = newcomer.session().tokens.refresh
        odd_provider.expire_access_tokens()

        newcomer.open_page()

        (call,) = (call for call in odd_provider.calls if odd_provider.is_refresh(call))
        assert (call.method, call.path, call.query) == ("POST", TOKEN, "")
        assert call.headers["content-type"] == "application/x-www-form-urlencoded"
        assert call.body == f"grant_type=refresh_token&refresh_token={spent}".encode()

    def test_a_revocation_is_one_too(self, odd_provider: OddProvider) -> None:
        call = DIALECT.revoke(PAIR)

        assert call is not None
        assert (call.method, call.path) == ("POST", f"{odd_provider.url}{REALM}/revoke")
        assert call.form == {"token": "r0", "token_type_hint": "refresh_token"}

    def test_it_asks_early_and_never_twice(self, odd_provider: OddProvider) -> None:
        dialect = current_dialect()

        assert isinstance(dialect, OAuth2Dialect)
        assert (dialect.refreshes_early, dialect.replay_is_safe) == (True, False)


class TestARefusal:
    @pytest.mark.parametrize("status", [200, 201, 400, 401, 403, 404])
    @pytest.mark.parametrize(
        "more", [{}, {"error_description": "Session not active"}, {"error_uri": "https://x/"}, {"suberror": 5}], ids=str
    )
    def test_is_an_invalid_grant(self, status: int, more: dict[str, object]) -> None:
        assert DIALECT.read_refresh(answer(status, {"error": "invalid_grant", **more}), PAIR) == Refused(
            is_certain=True
        )

    @pytest.mark.parametrize("status", [200, 400, 401, 403])
    @pytest.mark.parametrize(
        "error",
        [
            "interaction_required",
            "login_required",
            "consent_required",
            "account_selection_required",
            "bad_refresh_token",
            "INVALID_GRANT",
            "invalid_grant ",
            {"code": "invalid_grant"},
        ],
        ids=repr,
    )
    def test_is_every_error_that_wants_another_sign_in(self, status: int, error: object) -> None:
        assert DIALECT.read_refresh(answer(status, {"error": error}), PAIR) == Refused(is_certain=True)

    @pytest.mark.parametrize("status", [302, 402, 405, 408, 409, 410, 422, 425, 429, 500, 502, 503, 504, 599])
    def test_is_none_with_any_other_status(self, status: int) -> None:
        assert isinstance(DIALECT.read_refresh(answer(status, {"error": "invalid_grant"}), PAIR), Unknown)

    @pytest.mark.parametrize("status", [400, 401, 403])
    @pytest.mark.parametrize(
        "error",
        [
            "invalid_client",
            "unauthorized_client",
            "invalid_request",
            "invalid_scope",
            "unsupported_grant_type",
            "temporarily_unavailable",
            "server_error",
            "slow_down",
            "payment_required",
            "invalid_token",
            "token_expired",
            "invalid_grants",
            "",
            None,
            True,
            ["invalid_grant"],
            {"message": "invalid_grant"},
        ],
        ids=repr,
    )
    def test_is_none_with_any_other_error(self, status: int, error: object) -> None:
        assert isinstance(DIALECT.read_refresh(answer(status, {"error": error}), PAIR), Unknown)

    @pytest.mark.parametrize("status", [200, 400, 401, 403, 404])
    @pytest.mark.parametrize(
        "body",
        [b"", b"<h1>invalid_grant</h1>", b"\xff\xfe", b'"invalid_grant"', b'[{"error": "invalid_grant"}]', b"[" * 9999],
        ids=["empty", "HTML", "no text", "a string", "a list", "nested beyond measure"],
    )
    def test_is_none_in_nobodys_words(self, status: int, body: bytes) -> None:
        assert isinstance(DIALECT.read_refresh(answer(status, body), PAIR), Unknown)

    def test_when_to_come_again_is_passed_on(self) -> None:
        outcome = DIALECT.read_refresh(answer(503, b"", retry_after="7"), PAIR)

        assert isinstance(outcome, Unknown)
        assert outcome.retry_after == 7

    @pytest.mark.parametrize("error", ["invalid_client", "unauthorized_client"])
    def test_what_is_ours_to_mend_is_in_the_log(self, caplog: pytest.LogCaptureFixture, error: str) -> None:
        DIALECT.read_refresh(answer(401, {"error": error}), PAIR)

        (record,) = caplog.records
        assert (record.levelno, error in record.getMessage()) == (logging.ERROR, True)


class TestTokens:
    def test_a_new_pair(self) -> None:
        tokens = refreshed()

        assert (tokens.access, tokens.refresh) == ("a1", "r1")
        assert tokens.access_expires_at == pytest.approx(tokens.received_at + 60)
        assert tokens.refresh_expires_at is None

    @pytest.mark.parametrize("refresh", [None, "", " ", "r0"], ids=["none", "empty", "blank", "the same"])
    def test_without_a_new_refresh_token_the_old_one_stays_with_its_expiry(self, refresh: str | None) -> None:
        tokens = refreshed(refresh_token=refresh)

        assert (tokens.access, tokens.refresh, tokens.refresh_expires_at) == ("a1", "r0", 3.0)

    @pytest.mark.parametrize(
        ("expires_in", "seconds"),
        [(60, 60), ("60", 60), (60.5, 60.5), (10**30, DECADE), (3600 * 24 * 400, 3600 * 24 * 400)],
        ids=repr,
    )
    def test_the_life_that_an_answer_tells(self, expires_in: object, seconds: float) -> None:
        tokens = refreshed(expires_in=expires_in)

        assert tokens.access_expires_at == pytest.approx(tokens.received_at + seconds)

    @pytest.mark.parametrize("name", ["refresh_expires_in", "refresh_token_expires_in"])
    @pytest.mark.parametrize("expires_in", [1800, "1800"], ids=repr)
    def test_the_life_of_the_refresh_token(self, name: str, expires_in: object) -> None:
        """The first name is Keycloak's; other providers use the second."""
        tokens = refreshed(**{name: expires_in})

        assert tokens.refresh_expires_at == pytest.approx(tokens.received_at + 1800)

    @pytest.mark.parametrize("expires_in", [-5, "soon", "", True, [60], {}, "inf", "nan"], ids=repr)
    def test_a_life_that_is_none_is_unknown(self, expires_in: object) -> None:
        assert refreshed(expires_in=expires_in).access_expires_at is None

    def test_what_an_answer_does_not_tell_the_tokens_may(self) -> None:
        tokens = refreshed(access_token=token_for(300), refresh_token=token_for(1800), expires_in=None)

        assert tokens.access_expires_at == pytest.approx(tokens.received_at + 300)
        assert tokens.refresh_expires_at == pytest.approx(tokens.received_at + 1800)

    def test_a_refresh_token_that_never_expires(self) -> None:
        """Keycloak sends 0 for offline tokens."""
        assert refreshed(refresh_expires_in=0).refresh_expires_at is None

    @pytest.mark.parametrize("kind", [None, "Bearer", "bearer", "BEARER"], ids=repr)
    def test_the_type_is_bearer_in_any_case(self, kind: str | None) -> None:
        assert refreshed(token_type=kind).access == "a1"

    @pytest.mark.parametrize(
        "changes",
        [
            {"token_type": "DPoP"},
            {"token_type": "mac"},
            {"token_type": ["Bearer"]},
            {"access_token": None},
            {"access_token": ""},
            {"access_token": 5},
            {"access_token": "a\r\nX-Evil: 1"},
            {"access_token": "ä"},
            {"refresh_token": 5},
            {"refresh_token": "r 1"},
            {"refresh_token": ["r1"]},
        ],
        ids=repr,
    )
    def test_what_is_no_pair_that_we_can_use_ends_no_session(self, changes: dict[str, object]) -> None:
        body = {name: value for name, value in {**TOKENS, **changes}.items() if value is not None}

        assert isinstance(DIALECT.read_refresh(answer(200, body), PAIR), Unknown)


class TestAtSignIn:
    @pytest.mark.parametrize(
        "changes",
        [
            {"refresh_token": None},
            {"refresh_token": ""},
            {"access_token": None},
            {"access_token": 5},
            {"token_type": "DPoP"},
        ],
        ids=repr,
    )
    def test_what_is_no_pair_signs_nobody_in(
        self, odd_provider: OddProvider, newcomer: Browser, changes: dict[str, object]
    ) -> None:
        odd_provider.tokens = changes

        assert newcomer.get(odd_provider.come_back(begin(newcomer))).status_code == 502

    def test_a_provider_that_sends_no_refresh_token_is_explained_in_the_log(
        self, odd_provider: OddProvider, newcomer: Browser, caplog: pytest.LogCaptureFixture
    ) -> None:
        odd_provider.tokens = {"refresh_token": None}

        newcomer.get(odd_provider.come_back(begin(newcomer)))

        assert "offline_access" in caplog.text

    def test_the_cookie_lives_as_long_as_the_refresh_token(self, odd_provider: OddProvider, newcomer: Browser) -> None:
        odd_provider.tokens = {"refresh_expires_in": 1800}

        answer = newcomer.get(odd_provider.come_back(begin(newcomer)))

        assert 1700 < int(answer.cookies["session"]["max-age"]) <= 1800

    def test_opaque_tokens_that_say_nothing_are_refreshed_when_they_are_refused(
        self, odd_provider: OddProvider, newcomer: Browser
    ) -> None:
        odd_provider.tokens = {"expires_in": None}
        newcomer.get(odd_provider.come_back(begin(newcomer)))
        assert newcomer.get("/accounts/session/").json()["access_expires_in"] is None
        odd_provider.expire_access_tokens()

        assert newcomer.is_signed_in()

        assert odd_provider.count_refreshes() == 1

    def test_a_life_of_nothing_is_no_endless_loop(self, odd_provider: OddProvider, newcomer: Browser) -> None:
        odd_provider.tokens = {"expires_in": 0}
        newcomer.get(odd_provider.come_back(begin(newcomer)))

        assert newcomer.open_page().status_code in (200, 502, 503)

        assert odd_provider.count_refreshes() <= 5
        assert newcomer.session().user.name == "Ada"
