"""The contract of a dialect: tests that the author of a dialect runs against a live API.

Subclass `DialectContract` in a test module and set the attributes. pytest runs the tests below:

    class TestShop(DialectContract):
        dialect = ShopDialect()
        base_url = "http://127.0.0.1:4000"
        username, password, protected_path = "ada", "tide-table", "/orders"

Each test signs in anew. If the API refreshes only after the access token has expired, the tests wait for that. Use a
server whose access tokens expire after a few seconds, or override `expire_access_token`.
"""

import json
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from itertools import product
from unittest import SkipTest

from django.test import override_settings

from accounts.dialects import base
from accounts.exceptions import ApiError, CredentialsRefused
from accounts.session.tokens import TokenPair
from accounts.upstream.calls import ApiAnswer, ApiCall
from accounts.upstream.transport import call_with_nonce

_PATIENCE_SECONDS = 30.0
_HTML = {"content-type": "text/html"}

#: What a gateway, a proxy or a captive portal sends instead of the API.
FOREIGN_RESPONSES = {
    "an empty 200": ApiAnswer(status=200, headers={}, body=b""),
    "HTML with status 200": ApiAnswer(status=200, headers=_HTML, body=b"<h1>Welcome</h1>"),
    "JSON of another kind": ApiAnswer(status=200, headers={}, body=b'{"status": "ok"}'),
    "a JSON list": ApiAnswer(status=200, headers={}, body=b"[]"),
    "a redirect": ApiAnswer(status=302, headers={"location": "/elsewhere"}, body=b""),
    **{
        f"HTML with status {status}": ApiAnswer(status=status, headers=_HTML, body=b"<h1>Error</h1>")
        for status in (400, 401, 403, 404, 408, 425, 429, 500, 502, 503, 504)
    },
}

#: What a gateway in front of the API sends in JSON, with the status of a refusal.
GATEWAY_JSON = (
    {"message": "Unauthorized"},
    {"message": "no Route matched with those values", "request_id": "0b57e1c3"},
    {"detail": "Not Found"},
    {"error": "Unauthorized"},
    {"error": "Not Found", "message": "No message available", "path": "/refresh"},
    {"error": {"code": "UNAUTHORIZED", "message": "Unauthorized"}},
)
#: Error codes that say for certain that the user has to sign in again (RFC 6749, OpenID Connect Core 3.1.2.6).
REFUSAL_CODES = ("invalid_grant", "login_required", "interaction_required", "consent_required")


class DialectContract:
    """What each dialect must fulfil. Set the attributes that have no value."""

    dialect: base.Dialect
    #: The value for API_BASE_URL.
    base_url: str
    #: The credentials of a user; not needed if you override `sign_in`.
    username: str
    password: str
    #: A path under `base_url` with status 200 for a valid access token, and 401 for an invalid or missing one.
    protected_path: str
    #: Whether the API refuses a spent refresh token. False if it does not rotate, or has a grace period.
    refuses_spent_tokens: bool = True
    #: Whether the API refuses a refresh token after `revoke`. False if it cannot revoke.
    refuses_revoked_tokens: bool = True

    def setup_method(self) -> None:
        self._cleanup = ExitStack()
        self._cleanup.enter_context(override_settings(API_BASE_URL=self.base_url))

    def teardown_method(self) -> None:
        self._cleanup.close()

    def sign_in(self) -> base.SignedIn:
        """A new sign-in. Override this for a dialect that takes no passwords."""
        assert isinstance(self.dialect, base.PasswordDialect), (
            "override sign_in() for a dialect that takes no passwords"
        )
        answer = self.ask(self.dialect.sign_in(self.username, self.password))
        return self.dialect.read_sign_in(answer, self.username)

    def expire_access_token(self, tokens: TokenPair) -> None:
        """Return once the API refuses the access token of `tokens`."""
        left = tokens.access_seconds_left()
        assert left is not None, "the tokens have no expiry time: override expire_access_token()"
        assert left <= _PATIENCE_SECONDS, f"the access token expires only in {left:.0f} s: use a shorter lifetime"
        give_up_at = time.monotonic() + _PATIENCE_SECONDS * 2
        while self.open_protected(tokens).status != 401:
            assert time.monotonic() < give_up_at, "the access token has not expired"
            time.sleep(0.1)

    # --- The tests ---

    def test_a_sign_in_names_the_user_and_returns_a_working_pair(self) -> None:
        signed_in = self.sign_in()

        assert signed_in.user.name, "the user has no name"
        assert self.open_protected(signed_in.tokens).status == 200

    def test_a_wrong_password_is_refused_with_a_message(self) -> None:
        if not isinstance(self.dialect, base.PasswordDialect):
            raise SkipTest("this dialect takes no passwords")
        answer = self.ask(self.dialect.sign_in(self.username, self.password + "-not"))
        message = ""
        try:
            self.dialect.read_sign_in(answer, self.username)
        except CredentialsRefused as refused:
            message = refused.message

        assert message, "a wrong password was not refused, or without a message"

    def test_a_made_up_access_token_is_refused(self) -> None:
        made_up = replace(self.sign_in().tokens, access="made-up")

        assert self.open_protected(made_up).status == 401

    def test_a_refresh_returns_a_working_pair(self) -> None:
        tokens = self.sign_in().tokens
        if not self.dialect.refreshes_early:
            assert isinstance(self.refresh(tokens), base.StillValid), (
                "refreshes_early is False, but the API did refresh"
            )

        rotated = self._refreshed(tokens)

        assert self.open_protected(rotated).status == 200
        assert isinstance(self._refresh_when_due(rotated), base.Refreshed), "the new pair could not be refreshed again"

    def test_a_spent_refresh_token_is_refused_or_safe_to_send_again(self) -> None:
        tokens = self.sign_in().tokens
        self._refreshed(tokens)

        again = self.refresh(tokens)

        if self.refuses_spent_tokens:
            assert isinstance(again, base.Refused), f"not Refused, but {again!r}"
            assert not self.dialect.replay_is_safe, "replay_is_safe is True, but the API refuses a spent token"
        else:
            assert isinstance(again, base.Refreshed), f"not Refreshed, but {again!r}"

    def test_a_made_up_refresh_token_is_refused(self) -> None:
        tokens = self.sign_in().tokens
        if not self.dialect.refreshes_early:
            self.expire_access_token(tokens)
        made_up = replace(tokens, refresh="made-up")

        outcome = self.refresh(made_up)

        assert isinstance(outcome, base.Refused), f"not Refused, but {outcome!r}"

    def test_a_revoked_refresh_token_is_refused(self) -> None:
        tokens = self.sign_in().tokens
        call = self.dialect.revoke(tokens)
        if call is None or not self.refuses_revoked_tokens:
            raise SkipTest("this API cannot revoke tokens")
        self.ask(call)
        if not self.dialect.refreshes_early:
            self.expire_access_token(tokens)

        outcome = self.refresh(tokens)

        assert isinstance(outcome, base.Refused), f"not Refused, but {outcome!r}"

    def test_a_response_of_a_gateway_ends_no_session(self) -> None:
        tokens = self.sign_in().tokens

        for name, answer in FOREIGN_RESPONSES.items():
            outcome = self.dialect.read_refresh(answer, tokens)
            assert isinstance(outcome, base.Unknown), f"{name}: not Unknown, but {outcome!r}"

    def test_a_repr_shows_no_secret(self) -> None:
        tokens = self.sign_in().tokens
        calls = [self.dialect.refresh(tokens), self.dialect.revoke(tokens)]
        if isinstance(self.dialect, base.PasswordDialect):
            calls.append(self.dialect.sign_in(self.username, self.password))

        printed = repr([calls, tokens])

        assert tokens.access not in printed
        assert tokens.refresh not in printed
        assert not isinstance(self.dialect, base.PasswordDialect) or self.password not in printed

    # --- Helpers ---

    def ask(self, call: ApiCall) -> ApiAnswer:
        """Send a call of the dialect."""
        return call_with_nonce(lambda: call, address="", ends_at=time.monotonic() + _PATIENCE_SECONDS)

    def open_protected(self, tokens: TokenPair) -> ApiAnswer:
        """Send an ordinary call with the access token."""
        headers = {"Authorization": tokens.authorization}
        return self.ask(ApiCall(method="GET", path=self.protected_path, headers=headers, dpop_key=tokens.dpop_key))

    def refresh(self, tokens: TokenPair) -> base.RefreshOutcome:
        return self.dialect.read_refresh(self.ask(self.dialect.refresh(tokens)), tokens)

    def _refresh_when_due(self, tokens: TokenPair) -> base.RefreshOutcome:
        if not self.dialect.refreshes_early:
            self.expire_access_token(tokens)
        return self.refresh(tokens)

    def _refreshed(self, tokens: TokenPair) -> TokenPair:
        outcome = self._refresh_when_due(tokens)
        assert isinstance(outcome, base.Refreshed), f"not Refreshed, but {outcome!r}"
        return outcome.tokens

    # --- Odd responses: the API's own with one change, and those of a gateway ---

    def test_any_2xx_with_a_pair_is_a_success(self) -> None:
        tokens, answer, rotated = self._refresh_and_keep_answer()

        for status in (200, 201, 202, 203, 206):
            outcome = self.dialect.read_refresh(replace(answer, status=status), tokens)
            assert isinstance(outcome, base.Refreshed), f"status {status}: not Refreshed, but {outcome!r}"
            assert outcome.tokens.refresh == rotated.refresh, f"status {status}: another refresh token"
        if isinstance(self.dialect, base.PasswordDialect):
            created = replace(self.ask(self.dialect.sign_in(self.username, self.password)), status=201)
            assert self.dialect.read_sign_in(created, self.username).tokens.refresh

    def test_an_empty_refresh_token_keeps_the_old_one(self) -> None:
        tokens, answer, rotated = self._refresh_and_keep_answer()

        for empty in ("", " ", None):
            outcome = self.dialect.read_refresh(_replaced(answer, rotated.refresh, empty), tokens)
            assert isinstance(outcome, base.Refreshed), f"{empty!r}: not Refreshed, but {outcome!r}"
            assert outcome.tokens.refresh == tokens.refresh, f"{empty!r}: not the old refresh token"

    def test_a_lifetime_of_zero_is_unknown(self) -> None:
        tokens, answer, _ = self._refresh_and_keep_answer()

        body = json.loads(answer.body, parse_int=lambda _: 0, parse_float=lambda _: 0)
        outcome = self.dialect.read_refresh(replace(answer, body=json.dumps(body).encode()), tokens)

        assert isinstance(outcome, base.Refreshed), f"not Refreshed, but {outcome!r}"
        left = outcome.tokens.access_seconds_left(), outcome.tokens.refresh_seconds_left()
        assert all(seconds is None or seconds > 0 for seconds in left), "the new pair has expired"

    def test_a_token_with_control_characters_is_no_success(self) -> None:
        tokens, answer, rotated = self._refresh_and_keep_answer()

        for token in (rotated.access, rotated.refresh):
            if token != tokens.refresh:  # an API that does not rotate sends no refresh token
                outcome = self.dialect.read_refresh(_replaced(answer, token, f"{token}\n"), tokens)
                assert isinstance(outcome, base.Unknown), f"not Unknown, but {outcome!r}"

    def test_an_error_with_status_200_is_no_success(self) -> None:
        tokens = self.sign_in().tokens
        answer = _json_answer(200, {"error": "temporarily_unavailable", "message": "Try again."})

        outcome = self.dialect.read_refresh(answer, tokens)

        assert isinstance(outcome, base.Unknown), f"not Unknown, but {outcome!r}"
        if isinstance(self.dialect, base.PasswordDialect):
            with suppress(ApiError, CredentialsRefused):
                self.dialect.read_sign_in(answer, self.username)
                raise AssertionError("a sign-in with an error in its JSON was a success")

    def test_a_certain_error_code_refuses(self) -> None:
        tokens = self.sign_in().tokens

        for status, code in product((200, 400, 401), REFUSAL_CODES):
            outcome = self.dialect.read_refresh(_json_answer(status, {"error": code}), tokens)
            assert isinstance(outcome, base.Refused), f"{status} {code}: not Refused, but {outcome!r}"

    def test_the_json_of_a_gateway_refuses_nothing_for_certain(self) -> None:
        """If the outcome is Refused, `accounts.rotation.refusal_check` checks that it comes from the API itself."""
        tokens = self.sign_in().tokens

        for status, payload in product((401, 403, 404), GATEWAY_JSON):
            outcome = self.dialect.read_refresh(_json_answer(status, payload), tokens)
            assert not isinstance(outcome, base.Refreshed), f"{status} {payload}: Refreshed"
            assert outcome != base.Refused(is_certain=True), f"{status} {payload}: {outcome!r}"

    def _refresh_and_keep_answer(self) -> tuple[TokenPair, ApiAnswer, TokenPair]:
        """The pair of a sign-in, the API's response to its refresh, and the next pair that it holds."""
        tokens = self.sign_in().tokens
        if not self.dialect.refreshes_early:
            self.expire_access_token(tokens)
        answer = self.ask(self.dialect.refresh(tokens))
        outcome = self.dialect.read_refresh(answer, tokens)
        assert isinstance(outcome, base.Refreshed), f"not Refreshed, but {outcome!r}"
        return tokens, answer, outcome.tokens


def _json_answer(status: int, payload: object) -> ApiAnswer:
    return ApiAnswer(status=status, headers={"content-type": "application/json"}, body=json.dumps(payload).encode())


def _replaced(answer: ApiAnswer, token: str, new: object) -> ApiAnswer:
    """`answer` with `new` in place of `token` in its JSON."""
    body = json.dumps(answer.json_object()).replace(json.dumps(token), json.dumps(new))
    return replace(answer, body=body.encode())
