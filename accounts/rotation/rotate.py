"""Rotation: the two-phase hand-over of the refresh token from one generation of a session to the next.

A refresh token works once, many requests need the new pair at once, and the answer that carries it may get lost. So
the record in the database arbitrates who spends the token, keeps the new pair until the browser has been seen with it,
and tells a browser that missed something (which gets the newest session) from a copied cookie (which ends it).

Throughout, `session` is what the request holds by now, and `presented` what its browser sent when it arrived.
"""

import logging
import time
from dataclasses import dataclass
from enum import Enum, auto
from uuid import UUID, uuid4

from django.db import Error as AnyDatabaseError

from accounts.conf import conf
from accounts.dialects.base import Refreshed, Refused, StillValid
from accounts.exceptions import ApiUnavailable, SessionEnded
from accounts.history.events import record_event
from accounts.models import EndReason, EventKind, SessionRecord, Trigger
from accounts.rotation.database import (
    database_errors_as_unavailable,
    drop_broken_connection,
    refuse_open_transaction,
)
from accounts.rotation.ending import end_reused_session, end_session, session_ended_error
from accounts.rotation.reuse_detection import GenerationStatus, Presented, check_generation
from accounts.rotation.single_flight import NoResult, SingleFlight
from accounts.rotation.token_requests import request_refresh, request_revocation
from accounts.session.api_session import ApiSession
from accounts.session.sealing import CannotOpen
from accounts.telemetry.metrics import time_follower
from accounts.telemetry.trace import StepKind, add_step

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.010
MAX_PAUSE_SECONDS = 0.100
LEASE_MARGIN_SECONDS = 1.0
STORE_SECONDS = 5.0
RETRY_SECONDS = 1.0


class RotationOutcome(Enum):
    """How a request got the session that it goes on with."""

    MINTED = auto()  # the API gave it to this request, or to one in this process that this request waited for
    ADOPTED = auto()  # another request had rotated, and the record kept the result
    STILL_VALID = auto()  # the API says that the present access token is good


@dataclass(frozen=True, slots=True)
class Rotated:
    """The session to go on with. `record` is what it was adopted from."""

    session: ApiSession
    outcome: RotationOutcome
    record: SessionRecord | None = None


_single_flight: SingleFlight[Rotated] = SingleFlight()


def rotate(session: ApiSession, presented: Presented, *, trigger: Trigger, patient: bool) -> Rotated:
    """Get a newer pair than the one that `session` holds. An impatient caller does not wait for others who are at it.

    `trigger` is what for, to be told where this request is the one that spends the refresh token.

    Raises SessionEnded; or ApiUnavailable, and then the session is as good as before.
    """
    refuse_open_transaction()
    started = time.monotonic()
    try:
        rotated, mine = _single_flight.share(
            (session.id, session.generation, patient),
            lambda: _rotate(session, presented, trigger=trigger, patient=patient),
            wait_seconds=conf.lease_seconds + LEASE_MARGIN_SECONDS + conf.attempt_seconds if patient else 0.0,
        )
    except NoResult as no_result:
        _waited(started, where="process")
        raise _share_failure(no_result.error) from no_result
    if not mine:
        _waited(started, where="process")
        if rotated.record is not None:
            # The other thread adopted by what its own browser presented; this one is judged by its own.
            rotated = _adopt(rotated.record, session, presented)
    if rotated.outcome is RotationOutcome.ADOPTED or (rotated.outcome is RotationOutcome.MINTED and not mine):
        add_step(StepKind.ADOPTED, generation=rotated.session.generation)
    return rotated


def _rotate(session: ApiSession, presented: Presented, *, trigger: Trigger, patient: bool) -> Rotated:
    owner = uuid4().hex
    # A lease that somebody took just now and died with may be claimed when it has run out, and who does not get it then
    # waits for the one who did. So nobody waits longer than one lease and one attempt.
    claim_until = time.monotonic() + conf.lease_seconds + LEASE_MARGIN_SECONDS
    give_up_at = claim_until + conf.attempt_seconds if patient else 0.0
    pause, waiting_since = FIRST_PAUSE_SECONDS, None
    while True:
        # From before the claim: a thread that is suspended right after it must not take the lease for a fresh one.
        ends_at = time.monotonic() + conf.attempt_seconds
        with database_errors_as_unavailable():
            claimed = time.monotonic() < claim_until and SessionRecord.objects.claim(
                session.id, generation=session.generation, owner=owner, lease_seconds=conf.lease_seconds
            )
        rotated = _spend(session, presented, owner, ends_at, trigger) if claimed else _join(session, presented)
        if rotated is not None:
            if waiting_since is not None:
                _waited(waiting_since, where="elsewhere")
            return rotated
        if waiting_since is None:
            waiting_since = time.monotonic()
        if time.monotonic() >= give_up_at:
            raise ApiUnavailable("another request is still rotating this session")
        time.sleep(pause)
        pause = min(pause * 2, MAX_PAUSE_SECONDS)


def _join(session: ApiSession, presented: Presented) -> Rotated | None:
    """Go along with what others did to the session; None while one of them is still rotating it."""
    with database_errors_as_unavailable():
        record = SessionRecord.objects.fetch(session.id)
        if record is None or record.ended_at is not None:
            raise session_ended_error(record, session, presented)
        if record.generation > session.generation:
            adopted = _adopt(record, session, presented)
            if record.had_rotated_by(presented.arrived):
                # One that came earlier has waited for the rotation, as others in the winner's own process have.
                _record_event(EventKind.ADOPTED, adopted.session, presented)
            return adopted
    if record.retry_in():
        # Those who wait on a failing API fail together, and at once.
        add_step(StepKind.PAUSE)
        raise ApiUnavailable("the last refresh got no usable answer", retry_after=record.retry_in())
    return None


def _spend(session: ApiSession, presented: Presented, owner: str, ends_at: float, trigger: Trigger) -> Rotated | None:
    """Spend the refresh token under the lease of `owner`; None where the lease was lost to somebody still rotating.

    The attempt ends at `ends_at` (time.monotonic()), well before the lease.
    """
    started = time.monotonic()
    try:
        outcome = request_refresh(
            session.tokens,
            address=presented.address,
            ends_at=ends_at,
            renew_lease=lambda: _renew_lease(session.id, owner),
        )
    except BaseException:
        _release(session.id, owner)
        raise
    seconds = time.monotonic() - started
    if isinstance(outcome, Refreshed):
        minted = session.rotated(outcome.tokens)
        return _keep(minted, session, presented, owner, trigger=trigger, seconds=seconds)
    if isinstance(outcome, StillValid):
        _release(session.id, owner)
        add_step(StepKind.STILL_VALID)
        return Rotated(session, RotationOutcome.STILL_VALID)
    if isinstance(outcome, Refused):
        return _refused(session, presented, owner)
    pause = RETRY_SECONDS if outcome.retry_after is None else outcome.retry_after
    _release(session.id, owner, retry_in=pause)
    _record_event(EventKind.API_AWAY, session, presented, trigger=trigger, seconds=seconds, why=outcome.why)
    raise ApiUnavailable(f"refresh: {outcome.why}", retry_after=outcome.retry_after)


def _keep(
    minted: ApiSession, session: ApiSession, presented: Presented, owner: str, *, trigger: Trigger, seconds: float
) -> Rotated:
    """Store the new pair before anything else happens to it: from here on a worker that dies loses nothing.

    `seconds` is what the refresh took.
    """
    give_up_at = time.monotonic() + STORE_SECONDS
    while True:
        try:
            if SessionRecord.objects.store(minted):
                _record_event(EventKind.ROTATED, minted, presented, trigger=trigger, seconds=seconds)
                return Rotated(minted, RotationOutcome.MINTED)
            record = SessionRecord.objects.fetch(minted.id)
            break
        except AnyDatabaseError as error:
            drop_broken_connection()
            if time.monotonic() >= give_up_at:
                why = type(error).__name__
                _record_event(EventKind.UNSTORED, minted, presented, trigger=trigger, seconds=seconds, why=why)
                # The lease stays until the record has caught up, or it runs out: whoever claimed now would send the
                # token that this one has spent.
                return Rotated(minted, RotationOutcome.MINTED)
            time.sleep(MAX_PAUSE_SECONDS)
    if record is None or record.ended_at is not None:
        request_revocation(minted.tokens, address=presented.address)
        raise session_ended_error(record, session, presented)
    return _adopt(record, session, presented)


def _refused(session: ApiSession, presented: Presented, owner: str) -> Rotated | None:
    """The API refused the token. If somebody took over and spent it, theirs counts; else the session is over."""
    with database_errors_as_unavailable():
        record = SessionRecord.objects.fetch(session.id)
        if record is None or record.ended_at is not None:
            raise session_ended_error(record, session, presented)
        if record.generation > session.generation:
            return _adopt(record, session, presented)
        if record.is_leased_to_another(owner):
            return None
        left = session.tokens.refresh_seconds_left()
        reason = EndReason.EXPIRED if left is not None and left <= 0 else EndReason.REFUSED
        if end_session(
            session.id,
            reason,
            up_to_generation=session.generation,
            user_id=session.user.id,
            address=presented.address,
        ):
            raise SessionEnded(reason, delete_cookie=True)
    return None


def _adopt(record: SessionRecord, session: ApiSession, presented: Presented) -> Rotated:
    """Go on with the newest session that the record holds, unless the presented generation is reused."""
    if check_generation(record, presented) is GenerationStatus.REUSED:
        with database_errors_as_unavailable():
            raise end_reused_session(record, session, presented)
    try:
        return Rotated(record.newest(session), RotationOutcome.ADOPTED, record)
    except CannotOpen as error:
        # Another host sealed it with a key that this one has not got yet: a matter of minutes, not of sessions.
        raise ApiUnavailable("the session's record cannot be opened with this host's keys") from error


def _record_event(
    kind: EventKind,
    session: ApiSession,
    presented: Presented,
    *,
    trigger: Trigger | None = None,
    seconds: float | None = None,
    why: str = "",
) -> None:
    record_event(
        kind,
        session.id,
        user_id=session.user.id,
        generation=session.generation,
        trigger=trigger,
        seconds=seconds,
        address=presented.address,
        why=why,
    )


def _waited(since: float, *, where: str) -> None:
    """This request waited for another one's rotation, since `since` (time.monotonic())."""
    time_follower(time.monotonic() - since, where=where)
    add_step(StepKind.WAITED, since=since)


def _share_failure(error: BaseException | None) -> ApiUnavailable | SessionEnded:
    """The failure of the thread that rotated, for one that waited for it."""
    if isinstance(error, SessionEnded):
        # This request arrived before the end, so the cookie is not its to delete.
        return SessionEnded(error.reason, delete_cookie=False)
    if isinstance(error, ApiUnavailable):
        return ApiUnavailable(str(error), retry_after=error.retry_after)
    return ApiUnavailable("another request in this process could not rotate the session")


def _renew_lease(session_id: UUID, owner: str) -> float | None:
    """When a second attempt ends (time.monotonic()); None where the lease is lost."""
    ends_at = time.monotonic() + conf.attempt_seconds
    try:
        renewed = SessionRecord.objects.renew(session_id, owner=owner, lease_seconds=conf.lease_seconds)
    except AnyDatabaseError:
        drop_broken_connection()
        return None
    return ends_at if renewed else None


def _release(session_id: UUID, owner: str, *, retry_in: float | None = None) -> None:
    try:
        SessionRecord.objects.release(session_id, owner=owner, retry_in=retry_in)
    except AnyDatabaseError:
        drop_broken_connection()
        logger.warning("session %s: the lease could not be given back; it will run out", session_id)
