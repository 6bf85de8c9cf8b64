"""One session at the API from its beginning to its end, for somebody who has a name and a password there."""

from dataclasses import dataclass, field

from accounts.browser.cookies import MAX_SESSION_BYTES, WARN_FROM_BYTES, split_cookie
from accounts.conf import conf
from accounts.dialects import current_dialect
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
from accounts.doctor.api_calls import ITS_WORDS, call, refresh_once
from accounts.doctor.findings import Finding, Findings, ok, problem, unknown, warning
from accounts.exceptions import ApiError, CredentialsRefused
from accounts.rotation.token_requests import request_revocation, request_sign_in
from accounts.session.api_session import ApiSession
from accounts.session.tokens import TokenPair


@dataclass(frozen=True, slots=True)
class Credentials:
    """Somebody who may sign in at the API."""

    username: str
    password: str = field(repr=False)


def examine_api_session(path: str, credentials: Credentials) -> Findings:
    """Sign in, call, refresh where that is allowed, revoke."""
    dialect = current_dialect()
    if not isinstance(dialect, PasswordDialect):
        yield unknown("api.session", "Users sign in at the provider's own page, so nobody was signed in here.")
        return
    try:
        signed_in = request_sign_in(credentials.username, credentials.password, address="")
    except CredentialsRefused:
        # Without the API's words, which may repeat what was typed.
        yield problem("api.session", "The API refuses this name and password.", "Try them on the sign-in page.")
        return
    except ApiError as error:
        yield problem("api.session", f"The sign-in failed: {error}.", "Look at the API's log.")
        return
    tokens = signed_in.tokens
    yield _session(dialect, signed_in)
    yield _signed_in_call(path, tokens)
    if dialect.refreshes_early:
        outcome = refresh_once(tokens)
        tokens = outcome.tokens if isinstance(outcome, Refreshed) else tokens
        yield _first_refresh(outcome)
    else:
        yield unknown("api.first-refresh", "Not tried: this API refreshes only once the access token has run out.")
    yield _revocation(tokens)


def _session(dialect: Dialect, signed_in: SignedIn) -> Finding:
    name, tokens = "api.session", signed_in.tokens
    text = ApiSession.begin(signed_in.user, tokens).seal_for_cookie()
    access, refresh = tokens.access_seconds_left(), tokens.refresh_seconds_left()
    found = f"Signed in. The access token is good for {_life(access)}, the refresh token for {_life(refresh)}. "
    found += f"The session takes {len(text)} bytes of cookies, in {len(split_cookie(text, conf.cookie_name))}."
    if len(text) > MAX_SESSION_BYTES:
        return problem(name, found, f"That is more than {MAX_SESSION_BYTES}: ask the API for smaller tokens.")
    if len(text) > WARN_FROM_BYTES:
        return warning(name, found, "Servers with default limits refuse that: ask the API for smaller tokens.")
    if dialect.refreshes_early and access is not None and access <= conf.refresh_ahead:
        advice = f"That is no more than API_REFRESH_AHEAD ({conf.refresh_ahead:g} s): every request would refresh."
        return warning(name, found, advice)
    return ok(name, found)


def _life(seconds: float | None) -> str:
    return "a time that the API does not tell" if seconds is None else f"{seconds:.0f} s"


def _signed_in_call(path: str, tokens: TokenPair) -> Finding:
    name = "api.call"
    status, trouble = call(path, tokens.access)
    if status is None:
        return problem(name, f"GET {path} as this user got no answer: {trouble}.", "Look at the API's log.")
    found = f"GET {path} as this user is answered with {status}."
    if status == 401:
        return problem(name, found, "The API refuses a token that it has just handed out.")
    if status >= 500:
        return problem(name, found, "Look at the API's log.")
    if status >= 300:
        return warning(name, found, "Name a path that this user may GET: --path")
    return ok(name, found)


def _first_refresh(outcome: RefreshOutcome) -> Finding:
    name = "api.first-refresh"
    if isinstance(outcome, Refreshed):
        return ok(name, "The pair was refreshed.")
    if isinstance(outcome, Unknown):
        return problem(name, f"The refresh was not answered as the dialect expects: {outcome.why}.", ITS_WORDS)
    if isinstance(outcome, StillValid):
        return warning(name, "The API does not refresh early, and the dialect says that it does.", ITS_WORDS)
    return problem(name, "The API refuses a refresh token that it has just handed out.", ITS_WORDS)


def _revocation(tokens: TokenPair) -> Finding:
    name = "api.revocation"
    request_revocation(tokens, address="")
    outcome = refresh_once(tokens)
    if isinstance(outcome, Refused):
        return ok(name, "The sign-in is over at the API too: its refresh token is refused now.")
    if isinstance(outcome, Refreshed):
        request_revocation(outcome.tokens, address="")
        found = "The refresh token still works after its revocation: signing out here does not end the sign-in there."
        return warning(name, found, "Give the API a call that revokes, if it can have one.")
    why = outcome.why if isinstance(outcome, Unknown) else "the access token is still valid"
    return unknown(name, f"Whether the API has ended the sign-in cannot be told: {why}.")
