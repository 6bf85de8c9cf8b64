"""Rotation: replacing the token pair of a session, in two phases.

A refresh token works once, many requests need the new pair at the same time, and the response with the new cookie may
get lost. So the record in the database decides which request spends the token, and keeps the new pair until the browser
has sent it. It also distinguishes a browser that missed a response (it gets the newest session) from a copied cookie
(it ends the session).

In this module, `session` is what the request holds now, and `presented` is what its browser sent.
"""

import time
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from functools import partial
from uuid import uuid4

from accounts.conf import conf
from accounts.database_pool import give_back_connections
from accounts.dialects.base import Refreshed, RefreshOutcome, Refused, StillValid
from accounts.exceptions import ApiUnavailable, SessionEnded
from accounts.models import EndReason, EventKind, SessionRecord, Trigger
from accounts.rotation.background import run_in_background
from accounts.rotation.database import database_errors_as_unavailable, refuse_open_transaction
from accounts.rotation.ending import end_session, fetch_active_record, refuse_retired
from accounts.rotation.events import record_rotation_event
from accounts.rotation.lease import claim_lease, is_leased_to_another, release_lease, renew_lease
from accounts.rotation.refusal_check import verify_refusal
from accounts.rotation.reuse_detection import Presented
from accounts.rotation.single_flight import NoResult, SingleFlight
from accounts.rotation.store import BACKGROUND_STORE_SECONDS, STORE_SECONDS, store_pair
from accounts.rotation.token_requests import request_refresh, request_revocation
from accounts.session.api_session import ApiSession
from accounts.session.claims import renewed_claims
from accounts.session.sealing import CannotOpen
from accounts.telemetry.metrics import time_follower
from accounts.telemetry.trace import StepKind, add_step

FIRST_PAUSE_SECONDS = 0.010
MAX_PAUSE_SECONDS = 0.100
LEASE_MARGIN_SECONDS = 1.0
#: A lease that has run out is taken over after the database has responded for so long: if it was unavailable before,
#: the worker with the lease may have a pair that it could not store, and stores it now. A worker on another host may
#: find the database some seconds later: it pauses, connects and probes (config/postgresql/connection.py).
TAKE_OVER_SECONDS = 6.0
RETRY_SECONDS = 1.0


class RotationOutcome(Enum):
    """How a request got its session."""

    MINTED = auto()  # the API issued it to this request, or to one in this process that this request waited for
    ADOPTED = auto()  # another request had rotated, and the record kept the result
    STILL_VALID = auto()  # the API says that the present access token is valid


@dataclass(frozen=True, slots=True)
class Rotated:
    """The session that the request continues with. `record` is the record that it was adopted from.

    `id_token` is the newer ID token that came with a minted pair; empty if none came. `is_own` says that no other
    request made the rotation.
    """

    session: ApiSession
    outcome: RotationOutcome
    record: SessionRecord | None = None
    id_token: str = field(default="", repr=False)
    is_own: bool = True


_single_flight: SingleFlight[Rotated] = SingleFlight()


def rotate(session: ApiSession, presented: Presented, *, trigger: Trigger, patient: bool) -> Rotated:
    """Get a newer pair than the one that `session` holds. Without `patient`, do not wait for other requests.

    `trigger` is the reason, for the event of the request that spends the refresh token. With Trigger.EARLY, do not wait
    long for the API either.

    Raises SessionEnded, or ApiUnavailable, after which the session is as valid as before.
    """
    refuse_open_transaction()
    started = time.monotonic()
    try:
        rotated, is_own = _single_flight.share(
            # The record judges by the device's key, too.
            (session.id, session.generation, session.device, patient),
            lambda: _claim_or_wait(session, presented, trigger=trigger, patient=patient),
            wait_seconds=_claim_seconds() + conf.attempt_seconds if patient else 0.0,
        )
    except NoResult as no_result:
        _record_wait(started, where="process")
        raise _follower_error(no_result.error) from no_result
    if not is_own:
        _record_wait(started, where="process")
        rotated = replace(rotated, is_own=False)
        if rotated.record is not None:
            # The other thread checked the generation that its own browser presented, so check this one, too.
            rotated = _adopt(rotated.record, session, presented)
    if rotated.outcome is RotationOutcome.ADOPTED or (rotated.outcome is RotationOutcome.MINTED and not is_own):
        add_step(StepKind.ADOPTED, generation=rotated.session.generation)
    return rotated


def _claim_or_wait(session: ApiSession, presented: Presented, *, trigger: Trigger, patient: bool) -> Rotated:
    """Claim the lease and refresh, or wait for the request that has it."""
    owner = uuid4().hex
    # If the worker with the lease has died, one request claims it when it has run out, and the others wait for that
    # request. So no request waits longer than one lease and one attempt.
    claim_until = time.monotonic() + _claim_seconds()
    give_up_at = claim_until + conf.attempt_seconds if patient else 0.0
    pause, waiting_since = FIRST_PAUSE_SECONDS, None
    while True:
        # Read before the claim: a thread that is suspended after it must not believe that the lease has just begun.
        ends_at = time.monotonic() + conf.attempt_seconds
        may_take_over = waiting_since is not None and time.monotonic() >= waiting_since + TAKE_OVER_SECONDS
        may_claim = time.monotonic() < claim_until
        record = claim_lease(session, presented, owner, may_claim=may_claim, may_take_over=may_take_over)
        if record is None:
            rotated = _refresh(session, presented, owner, ends_at, trigger)
        else:
            rotated = _adopt_if_rotated(record, session, presented)
        if rotated is not None:
            if waiting_since is not None:
                _record_wait(waiting_since, where="elsewhere")
            return rotated
        if waiting_since is None:
            waiting_since = time.monotonic()
        if time.monotonic() >= give_up_at:
            raise ApiUnavailable("another request is still rotating this session")
        give_back_connections()
        time.sleep(pause)
        pause = min(pause * 2, MAX_PAUSE_SECONDS)


def _adopt_if_rotated(record: SessionRecord, session: ApiSession, presented: Presented) -> Rotated | None:
    """Adopt what another request has stored; None while another request is rotating."""
    if record.generation > session.generation:
        adopted = _adopt(record, session, presented)
        if record.had_rotated_by(presented.arrived):
            # A request that arrived before the rotation has only waited for it. No response got lost.
            record_rotation_event(EventKind.ADOPTED, adopted.session, presented)
        return adopted
    if record.retry_in():
        # While the API fails, all waiting requests fail at once.
        add_step(StepKind.PAUSE)
        raise ApiUnavailable("the last refresh got no usable response", retry_after=record.retry_in())
    return None


def _refresh(session: ApiSession, presented: Presented, owner: str, ends_at: float, trigger: Trigger) -> Rotated | None:
    """Spend the refresh token under the lease of `owner`; None if another request has the lease now and is rotating.

    The attempt ends at `ends_at` (time.monotonic()), well before the lease.
    """
    send = partial(_request_refresh, session, presented, owner, ends_at)
    finish = partial(_finish_refresh, session, presented, owner, trigger)
    if trigger is not Trigger.EARLY:
        return finish(send(), store_seconds=STORE_SECONDS)
    # Only a request that still waits can carry a pair on in its cookie while the database fails.
    response = run_in_background(send, partial(finish, store_seconds=BACKGROUND_STORE_SECONDS))
    return finish(response, store_seconds=STORE_SECONDS)


def _finish_refresh(
    session: ApiSession,
    presented: Presented,
    owner: str,
    trigger: Trigger,
    response: tuple[RefreshOutcome, float],
    *,
    store_seconds: float,
) -> Rotated | None:
    """Act on the API's response to a refresh, which is given with its duration in seconds. Returns as `_refresh`."""
    outcome, seconds = response
    if isinstance(outcome, Refreshed) and _is_of_another_user(outcome, session):
        # The spent token has no other successor, so the session cannot go on.
        request_revocation(outcome.tokens, address=presented.address)
        return _handle_refusal(session, presented, owner, may_end=True, reason=EndReason.OTHER_USER)
    if isinstance(outcome, Refreshed):
        user = renewed_claims(session.user, outcome.tokens.access, outcome.id_token, outcome.fields)
        minted = session.rotated(outcome.tokens, user)
        record = store_pair(minted, session, presented, trigger=trigger, seconds=seconds, patience=store_seconds)
        if record is not None:
            return replace(_adopt(record, session, presented), id_token=outcome.id_token)
        return Rotated(minted, RotationOutcome.MINTED, id_token=outcome.id_token)
    if isinstance(outcome, StillValid):
        release_lease(session.id, owner)
        add_step(StepKind.STILL_VALID)
        return Rotated(session, RotationOutcome.STILL_VALID)
    if isinstance(outcome, Refused):
        return _handle_refusal(session, presented, owner, may_end=outcome.is_certain)
    pause = RETRY_SECONDS if outcome.retry_after is None else outcome.retry_after
    release_lease(session.id, owner, retry_in=pause)
    record_rotation_event(
        EventKind.API_UNAVAILABLE, session, presented, trigger=trigger, seconds=seconds, why=outcome.why
    )
    raise ApiUnavailable(f"refresh: {outcome.why}", retry_after=outcome.retry_after)


def _is_of_another_user(outcome: Refreshed, session: ApiSession) -> bool:
    # As text: some APIs began to send their ids as text.
    found, expected = str(outcome.user_id), str(session.user.id)
    return "" not in (found, expected) and found != expected


def _request_refresh(
    session: ApiSession, presented: Presented, owner: str, ends_at: float
) -> tuple[RefreshOutcome, float]:
    """Spend the refresh token. Returns also how many seconds it took."""
    started = time.monotonic()
    try:
        outcome = _request_verified(session, presented, owner, ends_at)
    except BaseException:
        release_lease(session.id, owner)
        raise
    return outcome, time.monotonic() - started


def _request_verified(session: ApiSession, presented: Presented, owner: str, ends_at: float) -> RefreshOutcome:
    """Spend the refresh token. A refusal that may be a gateway's is checked, unless this request has lost the lease."""
    outcome = request_refresh(
        session.tokens, address=presented.address, ends_at=ends_at, renew_lease=lambda: _renew_lease(session, owner)
    )
    if not isinstance(outcome, Refused) or outcome.is_certain:
        return outcome
    check_ends_at = _renew_lease(session, owner)
    if check_ends_at is None:
        return outcome
    return verify_refusal(session.tokens, address=presented.address, ends_at=check_ends_at)


def _handle_refusal(
    session: ApiSession, presented: Presented, owner: str, *, may_end: bool, reason: EndReason | None = None
) -> Rotated | None:
    """The API refused the token: adopt the session of the request that spent it before, or else end the session.

    Returns None while another request is rotating. Without `may_end`, raises ApiUnavailable instead of ending it.
    """
    with database_errors_as_unavailable():
        record = fetch_active_record(session, presented)
        if record.generation > session.generation:
            return _adopt(record, session, presented)
        if is_leased_to_another(record, owner):
            return None
        if not may_end:
            raise ApiUnavailable("the API's refusal of the refresh token could not be checked")
        left = session.tokens.refresh_seconds_left()
        reason = reason or (EndReason.EXPIRED if left is not None and left <= 0 else EndReason.REFUSED)
        if end_session(
            session.id, reason, up_to_generation=session.generation, user_id=session.user.id, address=presented.address
        ):
            raise SessionEnded(reason, delete_cookie=True)
    return None


def _adopt(record: SessionRecord, session: ApiSession, presented: Presented) -> Rotated:
    """Continue with the newest session of the record, unless the presented generation is reused."""
    with database_errors_as_unavailable():
        refuse_retired(record, session, presented)
    try:
        return Rotated(record.newest(session), RotationOutcome.ADOPTED, record)
    except CannotOpen as error:
        # Another host sealed it with a key that this one does not have yet. The session must survive that.
        raise ApiUnavailable("the session's record cannot be opened with this host's keys") from error


def _claim_seconds() -> float:
    """How long a request tries to claim the lease: until a dead worker's has run out and can be taken over."""
    return max(conf.lease_seconds, TAKE_OVER_SECONDS) + LEASE_MARGIN_SECONDS


def _record_wait(since: float, *, where: str) -> None:
    """Measure how long this request waited for the rotation of another one, from `since` (time.monotonic())."""
    time_follower(time.monotonic() - since, where=where)
    add_step(StepKind.WAITED, since=since)


def _follower_error(error: BaseException | None) -> ApiUnavailable | SessionEnded:
    """The exception of a thread that waited, made from the `error` of the thread that rotated."""
    if isinstance(error, SessionEnded):
        # This request arrived before the end, so it must not delete the cookie.
        return SessionEnded(error.reason, delete_cookie=False)
    if isinstance(error, ApiUnavailable):
        return ApiUnavailable(str(error), retry_after=error.retry_after)
    return ApiUnavailable("another request in this process could not rotate the session")


def _renew_lease(session: ApiSession, owner: str) -> float | None:
    """The end of a second attempt (time.monotonic()); None if the lease is lost."""
    ends_at = time.monotonic() + conf.attempt_seconds
    return ends_at if renew_lease(session.id, owner) else None
