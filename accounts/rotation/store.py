"""Storing a new pair. Until then this thread has the only copy, so nothing else takes its database connection."""

import time
from functools import partial

from django.db import Error as AnyDatabaseError

from accounts.history.events import record_kept_event
from accounts.models import EventKind, SessionRecord, Trigger
from accounts.rotation.background import go_on_in_background
from accounts.rotation.database import drop_broken_connection, reserved_connection
from accounts.rotation.ending import session_ended_error
from accounts.rotation.events import new_rotation_event, record_rotation_event
from accounts.rotation.reuse_detection import Presented
from accounts.rotation.token_requests import request_revocation
from accounts.session.api_session import ApiSession

STORE_SECONDS = 5.0
#: For a pair that no cookie may carry on while the database fails.
BACKGROUND_STORE_SECONDS = 300.0
_PAUSE_SECONDS = 0.100


def store_pair(
    minted: ApiSession, session: ApiSession, presented: Presented, *, trigger: Trigger, seconds: float, patience: float
) -> SessionRecord | None:
    """Store the new pair of `session` before it is used: if the worker dies after this, nothing is lost.

    `seconds` is the duration of the refresh. While the database fails, it tries again for `patience` seconds. Then only
    the cookie has the pair, and its response may get lost, so a thread goes on trying. Returns the record if another
    request has stored a newer pair, else None. Raises SessionEnded.
    """
    store = partial(_store, minted, session, presented, trigger=trigger, seconds=seconds)
    try:
        return store(patience)
    except AnyDatabaseError as error:
        why = type(error).__name__
        record_rotation_event(EventKind.UNSTORED, minted, presented, trigger=trigger, seconds=seconds, why=why)
        if patience < BACKGROUND_STORE_SECONDS:
            go_on_in_background(partial(store, BACKGROUND_STORE_SECONDS))
        # Keep the lease until the record has caught up or the lease runs out: a request that claimed it now would send
        # the token that this one has spent.
        return None


def _store(
    minted: ApiSession, session: ApiSession, presented: Presented, patience: float, *, trigger: Trigger, seconds: float
) -> SessionRecord | None:
    give_up_at = time.monotonic() + patience
    while True:
        try:
            with reserved_connection():
                event = new_rotation_event(EventKind.ROTATED, minted, presented, trigger=trigger, seconds=seconds)
                is_stored = SessionRecord.objects.store(minted, event)
                record = None if is_stored else SessionRecord.objects.fetch(minted.id)
            break
        except AnyDatabaseError:
            drop_broken_connection()
            if time.monotonic() >= give_up_at:
                raise
            time.sleep(_PAUSE_SECONDS)
    if is_stored:
        record_kept_event(event, user_id=minted.user.id)
    elif record is None or record.ended_at is not None:
        request_revocation(minted.tokens, address=presented.address)
        raise session_ended_error(record, session, presented)
    return record
