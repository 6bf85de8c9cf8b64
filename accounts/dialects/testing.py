"""The contract of a dialect, as tests that its author runs against a live server of that kind.

Subclass `DialectContract` in a test module, fill in the attributes, and pytest runs what is written here:

    class TestShop(DialectContract):
        dialect = ShopDialect()
        base_url = "http://127.0.0.1:4000"
        username, password, protected_path = "ada", "tide-table", "/orders"

Each test signs in anew. Where the API wants the access token to have expired, the test waits for that: use a server
whose tokens live for seconds, or say in `expire_access_token` how to make them expire.
"""

import time
from contextlib import ExitStack
from dataclasses import replace
from unittest import SkipTest

from django.test import override_settings

from accounts.dialects.base import (
    Dialect,
    PasswordDialect,
    Refreshed,
    RefreshOutcome,
    Refused,
    SignedIn,
    StillValid,
    Unknown,
)
from accounts.exceptions import CredentialsRefused
from accounts.session.tokens import TokenPair
from accounts.upstream.calls import ApiAnswer, ApiCall
from accounts.upstream.transport import call_once

_PATIENCE_SECONDS = 30.0
_HTML = {"content-type": "text/html"}

#: What a gateway, a proxy or a captive portal sends in the API's place. None of it is a word of the API's.
ANSWERS_OF_OTHERS = {
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


class DialectContract:
    """What every dialect has to hold. Attributes without a value are yours to give."""

    dialect: Dialect
    #: What API_BASE_URL will be.
    base_url: str
    #: Of somebody who may sign in; not needed where `sign_in` is overridden.
    username: str
    password: str
    #: Something under `base_url` that answers 200 to a good access token, and 401 to none or a bad one.
    protected_path: str
    #: Whether the API refuses a refresh token that is spent. False where it does not rotate, or has a grace period.
    refuses_spent_tokens: bool = True
    #: Whether the API refuses a refresh token after `revoke`. False where it cannot revoke.
    refuses_revoked_tokens: bool = True

    def setup_method(self) -> None:
        self._closing = ExitStack()
        self._closing.enter_context(override_settings(API_BASE_URL=self.base_url))

    def teardown_method(self) -> None:
        self._closing.close()

    def sign_in(self) -> SignedIn:
        """A new sign-in. For a dialect that takes no passwords, say here how to come by one."""
        assert isinstance(self.dialect, PasswordDialect), "override sign_in() for a dialect that takes no passwords"
        answer = self.ask(self.dialect.sign_in(self.username, self.password))
        return self.dialect.read_sign_in(answer, self.username)

    def expire_access_token(self, tokens: TokenPair) -> None:
        """Return once the API refuses the access token of `tokens`."""
        left = tokens.access_seconds_left()
        assert left is not None, "the tokens do not tell when they expire: override expire_access_token()"
        assert left <= _PATIENCE_SECONDS, f"the access token lives for {left:.0f} s: let the server make shorter ones"
        give_up_at = time.monotonic() + _PATIENCE_SECONDS * 2
        while self.open_protected(tokens).status != 401:
            assert time.monotonic() < give_up_at, "the access token has not expired"
            time.sleep(0.1)

    # --- The tests ---

    def test_a_sign_in_says_who_it_is_and_yields_a_pair_that_opens_the_api(self) -> None:
        signed_in = self.sign_in()

        assert signed_in.user.name, "nobody is named"
        assert self.open_protected(signed_in.tokens).status == 200

    def test_a_wrong_password_is_refused_in_words_for_the_form(self) -> None:
        if not isinstance(self.dialect, PasswordDialect):
            raise SkipTest("this dialect takes no passwords")
        answer = self.ask(self.dialect.sign_in(self.username, self.password + "-not"))
        words = ""
        try:
            self.dialect.read_sign_in(answer, self.username)
        except CredentialsRefused as refused:
            words = refused.message

        assert words, "a wrong password was not refused, or without a word"

    def test_an_access_token_that_is_made_up_opens_nothing(self) -> None:
        made_up = replace(self.sign_in().tokens, access="made-up")

        assert self.open_protected(made_up).status == 401

    def test_a_refresh_brings_a_pair_that_opens_the_api(self) -> None:
        tokens = self.sign_in().tokens
        if not self.dialect.refreshes_early:
            assert isinstance(self.refresh(tokens), StillValid), "refreshes_early is False, and the API did refresh"

        rotated = self._rotated(tokens)

        assert self.open_protected(rotated).status == 200
        assert isinstance(self._refresh_when_due(rotated), Refreshed), "the new pair could not be refreshed again"

    def test_a_spent_refresh_token_is_refused_or_safe_to_send_again(self) -> None:
        tokens = self.sign_in().tokens
        self._rotated(tokens)

        again = self.refresh(tokens)

        if self.refuses_spent_tokens:
            assert isinstance(again, Refused), f"not Refused, but {again!r}"
            assert not self.dialect.replay_is_safe, "replay_is_safe is True, and the API refuses a spent token"
        else:
            assert isinstance(again, Refreshed), f"not Refreshed, but {again!r}"

    def test_a_refresh_token_that_is_made_up_is_refused(self) -> None:
        tokens = self.sign_in().tokens
        if not self.dialect.refreshes_early:
            self.expire_access_token(tokens)
        made_up = replace(tokens, refresh="made-up")

        outcome = self.refresh(made_up)

        assert isinstance(outcome, Refused), f"not Refused, but {outcome!r}"

    def test_a_revoked_refresh_token_is_refused(self) -> None:
        tokens = self.sign_in().tokens
        call = self.dialect.revoke(tokens)
        if call is None or not self.refuses_revoked_tokens:
            raise SkipTest("this API cannot revoke")
        self.ask(call)
        if not self.dialect.refreshes_early:
            self.expire_access_token(tokens)

        outcome = self.refresh(tokens)

        assert isinstance(outcome, Refused), f"not Refused, but {outcome!r}"

    def test_what_others_say_in_the_apis_place_ends_no_session(self) -> None:
        tokens = self.sign_in().tokens

        for name, answer in ANSWERS_OF_OTHERS.items():
            outcome = self.dialect.read_refresh(answer, tokens)
            assert isinstance(outcome, Unknown), f"{name}: not Unknown, but {outcome!r}"

    def test_nothing_secret_is_printed(self) -> None:
        tokens = self.sign_in().tokens
        calls = [self.dialect.refresh(tokens), self.dialect.revoke(tokens)]
        if isinstance(self.dialect, PasswordDialect):
            calls.append(self.dialect.sign_in(self.username, self.password))

        printed = repr([calls, tokens])

        assert tokens.access not in printed
        assert tokens.refresh not in printed
        assert not isinstance(self.dialect, PasswordDialect) or self.password not in printed

    # --- What they use ---

    def ask(self, call: ApiCall) -> ApiAnswer:
        """The server's answer to a call of the dialect's."""
        return call_once(call, address="", ends_at=time.monotonic() + _PATIENCE_SECONDS)

    def open_protected(self, tokens: TokenPair) -> ApiAnswer:
        """The server's answer to an ordinary call."""
        headers = {"Authorization": f"Bearer {tokens.access}"}
        return self.ask(ApiCall(method="GET", path=self.protected_path, headers=headers))

    def refresh(self, tokens: TokenPair) -> RefreshOutcome:
        return self.dialect.read_refresh(self.ask(self.dialect.refresh(tokens)), tokens)

    def _refresh_when_due(self, tokens: TokenPair) -> RefreshOutcome:
        if not self.dialect.refreshes_early:
            self.expire_access_token(tokens)
        return self.refresh(tokens)

    def _rotated(self, tokens: TokenPair) -> TokenPair:
        outcome = self._refresh_when_due(tokens)
        assert isinstance(outcome, Refreshed), f"not Refreshed, but {outcome!r}"
        return outcome.tokens
