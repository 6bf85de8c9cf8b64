"""Sign-in, refresh and revocation at the API. The dialect builds the calls, the transport sends them."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from accounts.conf import conf
from accounts.dialects import current_dialect
from accounts.dialects.base import Dialect, PasswordDialect, RefreshOutcome, SignedIn, Unknown
from accounts.dialects.oauth2 import OAuth2Dialect
from accounts.exceptions import ApiError, ApiMisbehaved, ApiUnavailable
from accounts.session.claims import ClaimsTooLarge, lacks_claims, with_claims
from accounts.session.tokens import TokenPair, UnusablePair
from accounts.telemetry.trace import StepKind, label_api_calls
from accounts.upstream.calls import ApiAnswer, ApiCall
from accounts.upstream.dpop import new_key
from accounts.upstream.transport import AnswerLost, NotSent, call_once, call_with_nonce

logger = logging.getLogger(__name__)

_REVOCATION_SECONDS = 3.0


@label_api_calls(StepKind.SIGN_IN)
def request_sign_in(username: str, password: str, *, address: str) -> SignedIn:
    """Sign in at the API for the browser at `address`. Raises CredentialsRefused, ApiUnavailable or ApiMisbehaved."""
    dialect = current_dialect()
    if not isinstance(dialect, PasswordDialect):
        raise ApiMisbehaved("this dialect takes no passwords")
    answer = _send(lambda: dialect.sign_in(username, password), address)
    with _revoked_if_unusable(address):
        return dialect.read_sign_in(answer, username)


@label_api_calls(StepKind.SIGN_IN)
def push_authorization_request(dialect: OAuth2Dialect, call: ApiCall, *, address: str) -> str:
    """Send the pushed authorization request (RFC 9126). Returns the URL at the provider that refers to it.

    Raises ApiUnavailable, RequestRefused or ApiMisbehaved.
    """
    return dialect.read_pushed(_send(lambda: call, address))


@label_api_calls(StepKind.SIGN_IN)
def request_tokens(
    dialect: OAuth2Dialect,
    code: str,
    *,
    redirect_uri: str,
    code_verifier: str,
    nonce: str,
    dpop_key: str = "",
    address: str,
) -> SignedIn:
    """Exchange an authorization code for tokens, bound to `dpop_key` if there is one.

    Raises CredentialsRefused, ApiUnavailable or ApiMisbehaved.
    """
    # Not for every sign-in: dialects of one's own may not know it.
    key = {"dpop_key": dpop_key} if dpop_key else {}
    answer = _send(lambda: dialect.redeem(code, redirect_uri=redirect_uri, code_verifier=code_verifier, **key), address)
    with _revoked_if_unusable(address):
        signed_in = dialect.read_redeemed(answer, nonce=nonce, **key)
    is_complete = dialect.is_named(signed_in.user) and not _lacks_claims(signed_in)
    call = None if is_complete else dialect.userinfo(signed_in.tokens)
    if call is None:
        return signed_in
    try:
        userinfo = _send(lambda: call, address)
    except ApiUnavailable as error:
        # A sign-in must not fail because the user's name is missing.
        logger.warning("the name of the user could not be read from the provider: %s", error)
        return signed_in
    user = signed_in.user if dialect.is_named(signed_in.user) else dialect.read_userinfo(userinfo, signed_in.user)
    fields = userinfo.json_object()
    return replace(signed_in, user=user, fields=fields if signed_in.user.has_id(fields.get("sub")) else {})


def _lacks_claims(signed_in: SignedIn) -> bool:
    """Whether the tokens lack a claim of API_USER_CLAIMS, so that the userinfo response may have it."""
    user, tokens = signed_in.user, signed_in.tokens
    try:
        return lacks_claims(with_claims(user, tokens.access, signed_in.id_token, {}))
    except ClaimsTooLarge:
        return False


def with_key(tokens: TokenPair, dialect: Dialect) -> TokenPair:
    """A pair to refresh. With OAUTH_DPOP, one without a key, as of a session from before, gets one.

    A refresh may bind it (RFC 9449 section 5).
    """
    stays = tokens.dpop_key or not (conf.oauth_dpop and isinstance(dialect, OAuth2Dialect))
    return tokens if stays else replace(tokens, dpop_key=new_key())


@label_api_calls(StepKind.REFRESH)
def request_refresh(
    tokens: TokenPair, *, address: str, ends_at: float, renew_lease: Callable[[], float | None]
) -> RefreshOutcome:
    """Spend the refresh token, before `ends_at` (time.monotonic()).

    At most two attempts. The second is made only if the first cannot have spent the token: its connection was never
    established, or the dialect says that the API accepts the same token twice. Before it, `renew_lease` returns the end
    of the second attempt (time.monotonic()), or None if the lease is lost.
    """
    dialect = current_dialect()
    tokens = with_key(tokens, dialect)

    def attempt(ends_at: float) -> ApiAnswer:
        # A new call each time: a provider accepts the JWT that authenticates the client only once.
        return call_with_nonce(lambda: dialect.refresh(tokens), address=address, ends_at=ends_at)

    try:
        try:
            answer = attempt(ends_at)
        except (NotSent, AnswerLost) as error:
            retry_ends_at = renew_lease() if isinstance(error, NotSent) or dialect.replay_is_safe else None
            if retry_ends_at is None:
                raise
            answer = attempt(retry_ends_at)
    except (NotSent, AnswerLost) as error:
        return Unknown(f"{type(error).__name__}: {error}")
    except ApiError as error:
        return Unknown(str(error), retry_after=getattr(error, "retry_after", None))
    return dialect.read_refresh(answer, tokens)


@label_api_calls(StepKind.REVOCATION)
def request_revocation(tokens: TokenPair, *, address: str) -> bool:
    """Ask the API to revoke a pair, in one short attempt. Never raises; failures are logged.

    Returns whether the API has responded, or has no such call. A failure of its own (5xx, 429) does not count.
    """
    try:
        call = current_dialect().revoke(tokens)
        if call is None:
            return True
        answer = call_once(call, address=address, ends_at=time.monotonic() + _REVOCATION_SECONDS)
    except (NotSent, AnswerLost, ApiError) as error:
        logger.warning("a token pair could not be revoked at the API: %s", error)
        return False
    logger.debug("the API answered a revocation with status %s", answer.status)
    return answer.status < 500 and answer.status != 429


@contextmanager
def _revoked_if_unusable(address: str) -> Iterator[None]:
    """Revoke tokens that the API has issued and that this site cannot use."""
    try:
        yield
    except UnusablePair as unusable:
        request_revocation(unusable.tokens, address=address)
        raise


def _send(build: Callable[[], ApiCall], address: str) -> ApiAnswer:
    """The response to a call of a sign-in. Raises ApiUnavailable."""
    try:
        return call_with_nonce(build, address=address, ends_at=time.monotonic() + conf.attempt_seconds)
    except (NotSent, AnswerLost) as error:
        raise ApiUnavailable(f"sign-in: {error}") from error
