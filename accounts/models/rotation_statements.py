"""The statements of a rotation: claim and store; the confirmation, if the browser has sent the newest generation; and
the look at the record on the way out.

Django builds each of them once (`built_statement.py`): these functions get parameters in place of values.
"""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import (
    BigIntegerField,
    Case,
    CharField,
    DateTimeField,
    DurationField,
    F,
    JSONField,
    Q,
    UUIDField,
    When,
)
from django.db.models.functions import Coalesce, JSONArray, Now

from accounts.models.built_statement import BuiltStatement
from accounts.models.json_functions import Epoch, JSONAppend, JSONLength, JSONMerge

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from accounts.models.session_record import SessionRecord
    from accounts.models.session_statements import SessionRecordQuerySet

    Change = tuple[SessionRecordQuerySet, dict[str, Any]]

#: The longest pause after a failure. One that ends later was set before the database's clock was set back.
LONGEST_PAUSE_SECONDS = 60.0
#: If `retired` has so many entries, it is read before it gets another one, and the old ones are taken out.
MAX_RETIRED = 8
#: So many rotations and confirmations of each session are kept in its record.
KEPT_EVENTS = 6

NOT_LEASED = Q(lease_until=None)


def claim(
    records: "SessionRecordQuerySet",
    *,
    session_id: Any,
    generation: Any,
    owner: Any,
    duration: Any,
    lease_host_time: Any,
    device_keys: Any,
    unleased: Q = NOT_LEASED,
) -> "Change":
    """Take the lease for `owner`, unless another request has it or a pause after a failure runs."""
    longest_pause = Now() + timedelta(seconds=LONGEST_PAUSE_SECONDS)
    not_paused = Q(retry_at=None) | Q(retry_at__lte=Now()) | Q(retry_at__gt=longest_pause)
    claimable = records.not_ended(session_id).filter(
        unleased, not_paused, generation__lte=generation, device_key__in=device_keys
    )
    return claimable, {
        "lease_owner": owner,
        "lease_until": Now() + duration,
        "lease_host_time": lease_host_time,
        "retry_at": None,
    }


def _claim(records: "SessionRecordQuerySet", *, device_key: Any, other_device_key: Any, **values: Any) -> "Change":
    return claim(records, device_keys=[device_key, other_device_key], **values)


def with_recent_event(event: Any) -> JSONAppend:
    """The new value of `recent_events` with one more event (`SessionEvent.to_line`)."""
    return JSONAppend("recent_events", event, keep=KEPT_EVENTS)


def _store(
    records: "SessionRecordQuerySet",
    *,
    session_id: Any,
    generation: Any,
    unbound_generation: Any,
    expires_at: Any,
    soon: Any,
    event: Any,
    **values: Any,
) -> "Change":
    """Store a new generation, unless the record has it already or has a newer one."""
    return records.not_ended(session_id).filter(generation__lt=generation), {
        **values,
        **expiry(expires_at, soon),
        "generation": generation,
        "last_rotated_at": Now(),
        "lease_owner": "",
        "lease_until": None,
        "retry_at": None,
        "device_generation": Coalesce(unbound_generation, F("device_generation")),
        "recent_events": with_recent_event(event),
    }


def expiry(expires_at: Any, soon: Any) -> dict[str, Any]:
    """The fields with the expiry of a session. `expiry_check_at` stays, unless it is `soon`, too late or unknown."""
    serves = Q(expiry_check_at__gt=soon, expiry_check_at__lte=expires_at)
    check_at = Case(When(serves, then=F("expiry_check_at")), default=expires_at)
    return {"expires_at": expires_at, "expiry_check_at": check_at}


def _confirm(
    records: "SessionRecordQuerySet", *, session_id: Any, generation: Any, device_key: Any, host_time: Any, event: Any
) -> "Change":
    """Store that the browser has sent the newest generation, which retires the older ones now."""
    # The last retirement is not in the future, as it is after the database's clock was set back.
    is_in_order = Q(confirmed_at=None) | Q(confirmed_at__lte=Now())
    newest = records.not_ended(session_id).filter(
        is_in_order, generation=generation, confirmed__lt=generation, device_key=device_key
    )
    return newest.alias(length=JSONLength("retired")).filter(length__lt=MAX_RETIRED), {
        "confirmed": generation,
        "confirmed_at": Now(),
        "retired": JSONAppend("retired", JSONArray(generation, Epoch(Now())), keep=MAX_RETIRED),
        "retired_host_times": JSONMerge("retired_host_times", host_time),
        "recent_events": with_recent_event(event),
    }


def _is_newest(
    records: "SessionRecordQuerySet", *, session_id: Any, generation: Any, presented_generation: Any, device_key: Any
) -> "QuerySet[SessionRecord, tuple[int]]":
    """The record, if this generation is the newest, and the browser has sent none that retires the presented one."""
    active = records.not_ended(session_id).order_by()
    return active.filter(generation=generation, confirmed__lte=presented_generation, device_key=device_key).values_list(
        "generation"
    )


_ID, _NUMBER, _TEXT, _TIME = UUIDField(), BigIntegerField(), CharField(), DateTimeField(null=True)
_DURATION, _JSON = DurationField(), JSONField()

CLAIM = BuiltStatement(
    _claim,
    session_id=_ID,
    generation=_NUMBER,
    owner=_TEXT,
    duration=_DURATION,
    lease_host_time=_JSON,
    device_key=_TEXT,
    other_device_key=_TEXT,
)
STORE = BuiltStatement(
    _store,
    session_id=_ID,
    generation=_NUMBER,
    unbound_generation=_NUMBER,
    user_key=_TEXT,
    sealed=_TEXT,
    expires_at=_TIME,
    soon=_TIME,
    event=_JSON,
)
CONFIRM = BuiltStatement(_confirm, session_id=_ID, generation=_NUMBER, device_key=_TEXT, host_time=_JSON, event=_JSON)
IS_NEWEST = BuiltStatement(
    _is_newest, session_id=_ID, generation=_NUMBER, presented_generation=_NUMBER, device_key=_TEXT
)
