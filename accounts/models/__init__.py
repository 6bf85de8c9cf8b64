"""The database tables: the record of each sign-in, its events, traced requests, and counts of events and attempts.

`SessionRecord` decides which request rotates a session. The other tables decide nothing about a session.
"""

from accounts.models.attempt_count import AttemptCount
from accounts.models.end_reason import EndReason
from accounts.models.event_total import EventTotal
from accounts.models.session_event import EventKind, SessionEvent, Trigger
from accounts.models.session_record import SessionRecord
from accounts.models.session_statements import SessionRecordQuerySet
from accounts.models.traced_request import TracedRequest
from accounts.models.user_key import sid_key, user_key

__all__ = [
    "AttemptCount",
    "EndReason",
    "EventKind",
    "EventTotal",
    "SessionEvent",
    "SessionRecord",
    "SessionRecordQuerySet",
    "TracedRequest",
    "Trigger",
    "sid_key",
    "user_key",
]
