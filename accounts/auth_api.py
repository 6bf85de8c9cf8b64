"""What we ask of the API's own sign-in machinery. The dialect spells it, the transport sends it."""

import logging
import time
from collections.abc import Callable

from accounts.conf import conf
from accounts.dialects import current_dialect
from accounts.dialects.base import RefreshOutcome, SignedIn, Unknown
from accounts.exceptions import ApiUnavailable
from accounts.tokens import TokenPair
from accounts.trace import StepKind, calls_are
from accounts.transport import AnswerLost, NotSent, call_once

logger = logging.getLogger(__name__)

_REVOCATION_SECONDS = 3.0


@calls_are(StepKind.SIGN_IN)
def request_sign_in(username: str, password: str, *, address: str) -> SignedIn:
    """Sign in at the API for the browser at `address`. Raises CredentialsRefused, ApiUnavailable or ApiMisbehaved."""
    dialect = current_dialect()
    call = dialect.sign_in(username, password)
    try:
        answer = call_once(call, address=address, ends_at=time.monotonic() + conf.attempt_seconds)
    except (NotSent, AnswerLost) as error:
        raise ApiUnavailable(f"sign-in: {error}") from error
    return dialect.read_sign_in(answer, username)


@calls_are(StepKind.REFRESH)
def request_refresh(
    tokens: TokenPair, *, address: str, ends_at: float, renew_lease: Callable[[], float | None]
) -> RefreshOutcome:
    """Spend the refresh token, before `ends_at` (time.monotonic()).

    At most two attempts, and the second only where the first can have spent nothing: its connection was never
    established, or the dialect says that the API takes the same token twice. Before it, `renew_lease` says until when
    it may last, or None where somebody else has started meanwhile.
    """
    dialect = current_dialect()
    call = dialect.refresh(tokens)
    try:
        answer = call_once(call, address=address, ends_at=ends_at)
    except (NotSent, AnswerLost) as error:
        again_until = renew_lease() if isinstance(error, NotSent) or dialect.replay_is_safe else None
        if again_until is None:
            return Unknown(f"{type(error).__name__}: {error}")
        try:
            answer = call_once(call, address=address, ends_at=again_until)
        except (NotSent, AnswerLost) as second:
            return Unknown(f"{type(second).__name__}: {second}")
    return dialect.read_refresh(answer, tokens)


@calls_are(StepKind.REVOCATION)
def request_revocation(tokens: TokenPair, *, address: str) -> None:
    """Ask the API to forget a pair: best effort and quick. Never raises; what fails is logged."""
    call = current_dialect().revoke(tokens)
    if call is None:
        return
    try:
        answer = call_once(call, address=address, ends_at=time.monotonic() + _REVOCATION_SECONDS)
    except (NotSent, AnswerLost) as error:
        logger.warning("a token pair could not be revoked at the API: %s", error)
    else:
        logger.debug("revocation answered %s", answer.status)
