"""The lease on a record: only the request that has it spends the refresh token."""

import logging
import time
from functools import partial
from uuid import UUID

from django.db import Error as AnyDatabaseError

from accounts.conf import conf
from accounts.models import SessionRecord
from accounts.models.rotation_statements import LONGEST_PAUSE_SECONDS
from accounts.rotation.background import go_on_in_background
from accounts.rotation.binding import update_binding
from accounts.rotation.database import connect, database_errors_as_unavailable, drop_broken_connection
from accounts.rotation.ending import fetch_active_record, refuse_retired
from accounts.rotation.reuse_detection import Presented
from accounts.session.api_session import ApiSession
from accounts.session.device_key import device_key

logger = logging.getLogger(__name__)

_PAUSE_SECONDS = 0.100


def claim_lease(
    session: ApiSession, presented: Presented, owner: str, *, may_claim: bool, may_take_over: bool
) -> SessionRecord | None:
    """Claim the lease for `owner`. Returns None; or the record, if it cannot be claimed or without `may_claim`.

    With `may_take_over`, a lease that has run out can be claimed too. Raises SessionEnded or ApiUnavailable.
    """

    keys = {"", device_key(presented.device)}

    def claim(run_out: SessionRecord | None = None) -> bool:
        if not may_claim:
            return False
        connect()
        try:
            return SessionRecord.objects.claim(
                session.id,
                generation=session.generation,
                owner=owner,
                lease_seconds=conf.lease_seconds,
                device_keys=keys,
                run_out=run_out,
            )
        except AnyDatabaseError:
            # The database may have stored this lease, and no request will use it.
            _release_in_background(session.id, owner)
            raise

    with database_errors_as_unavailable():
        if claim():
            return None
        record = fetch_active_record(session, presented)
        if record.generation > session.generation:
            return record
        is_bound_elsewhere = record.device_key not in keys
        if is_bound_elsewhere:
            refuse_retired(record, session, presented)
            update_binding(record, session, presented)
            keys.add(record.device_key)
        run_out = record if may_take_over and lease_has_run_out(record) else None
        return None if (is_bound_elsewhere or run_out) and claim(run_out) else record


def release_lease(session_id: UUID, owner: str, *, retry_in: float | None = None) -> None:
    """Release the lease of `owner`. While the database fails, a thread tries again until the lease runs out."""
    try:
        SessionRecord.objects.release(session_id, owner=owner, retry_in=retry_in)
    except AnyDatabaseError:
        drop_broken_connection()
        _release_in_background(session_id, owner)


def _release_in_background(session_id: UUID, owner: str) -> None:
    go_on_in_background(partial(_release_until_it_runs_out, session_id, owner))


def _release_until_it_runs_out(session_id: UUID, owner: str) -> None:
    give_up_at = time.monotonic() + conf.lease_seconds
    while time.monotonic() < give_up_at:
        time.sleep(_PAUSE_SECONDS)
        try:
            SessionRecord.objects.release(session_id, owner=owner)
        except AnyDatabaseError:
            drop_broken_connection()
        else:
            return
    logger.warning("session %s: the lease could not be released; it has run out", session_id)


def lease_has_run_out(record: SessionRecord) -> bool:
    """Whether a lease was taken and neither released nor running. One in the future does not count as running."""
    if record.lease_until is None:
        return False
    owner, seconds, *begun = record.lease_host_time or [None, None]
    if owner != record.lease_owner:
        # Claimed by a release that does not store its host's clock.
        seconds, begun = max(conf.lease_seconds, LONGEST_PAUSE_SECONDS), None
    begun_at = record.lease_until.timestamp() - seconds
    since = record.fetched_at.seconds_since(begun_at, begun, earliest=-1.0)
    return since is None or since >= seconds


def is_leased_to_another(record: SessionRecord, owner: str) -> bool:
    """Whether another request than `owner` is rotating now."""
    return record.lease_owner != owner and record.lease_until is not None and not lease_has_run_out(record)


def renew_lease(session_id: UUID, owner: str) -> bool:
    """Extend the lease for a second attempt, if `owner` still has it."""
    try:
        return SessionRecord.objects.renew(session_id, owner=owner, lease_seconds=conf.lease_seconds)
    except AnyDatabaseError:
        drop_broken_connection()
        return False
