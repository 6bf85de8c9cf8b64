"""The statements of a session's record: each change is one conditional UPDATE of one row, keyed by the session id."""

import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import connections, models, router
from django.db.models import JSONField, Q, Value
from django.db.models.functions import Now
from django.utils import timezone

from accounts.models import json_functions
from accounts.models import rotation_statements as statements
from accounts.models.built_statement import BuiltStatement
from accounts.models.clocks import Moment, host_time
from accounts.models.end_reason import EndReason
from accounts.models.rotation_statements import LONGEST_PAUSE_SECONDS
from accounts.models.user_key import sid_key, user_key
from accounts.session.api_session import ApiSession
from accounts.session.device_key import device_key
from accounts.text import clean_text

if TYPE_CHECKING:
    from accounts.models.session_event import SessionEvent
    from accounts.models.session_record import SessionRecord


class SessionRecordQuerySet(models.QuerySet["SessionRecord"]):
    """The statements of the rotation. Each UPDATE returns whether it changed the row."""

    @property
    def _alias(self) -> str:
        return router.db_for_write(self.model)

    def _run(self, statement: BuiltStatement, **values: Any) -> bool:
        return statement.run(self.model._default_manager.all(), self._alias, **values)

    def not_ended(self, session_id: UUID) -> "SessionRecordQuerySet":
        return self.filter(pk=session_id, ended_at=None)

    def fetch(self, session_id: UUID) -> "SessionRecord | None":
        """The record with the time of this query, by all clocks; None if there is no record.

        From the database that is written to: a replica that lags behind does not know a new session.
        """
        records = self.using(router.db_for_write(self.model))
        record = next(iter(records.annotate(now=Now()).filter(pk=session_id).order_by()), None)
        if record is not None:
            # Read after the query: its duration can only date a request's arrival too early, never too late.
            now: datetime = record.now  # type: ignore[attr-defined]
            record.fetched_at = Moment(now.timestamp(), time.monotonic(), time.time())
        return record

    def is_newest(self, session: ApiSession, *, presented_generation: int) -> bool:
        """Whether the record has not ended, has no newer generation than `session`, and is bound to the same device.

        False too if the browser has sent a newer generation than the presented one.
        """
        return self._run(
            statements.IS_NEWEST,
            session_id=session.id,
            generation=session.generation,
            presented_generation=presented_generation,
            device_key=device_key(session.device),
        )

    def active(self) -> "SessionRecordQuerySet":
        """Sessions that a browser can still use, as far as this site knows."""
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=Now()), ended_at=None)

    def expired(self) -> "SessionRecordQuerySet":
        """Sessions whose refresh token has expired, and which no request has ended yet."""
        return self.due().filter(expires_at__lte=Now())

    def due(self) -> "SessionRecordQuerySet":
        """Sessions that may have expired: an index has these few. Their `expires_at` says which have."""
        return self.filter(ended_at=None, expiry_check_at__lte=Now())

    def ended(self) -> "SessionRecordQuerySet":
        return self.filter(ended_at__isnull=False)

    def of_same_user(self, record: "SessionRecord") -> "SessionRecordQuerySet":
        """The sessions of the same user at the same API; only `record` if it does not say who the user is."""
        if not record.user_key:
            return self.filter(pk=record.pk)
        # An index has `user_id`.
        return self.filter(user_id=record.user_id, user_key=record.user_key)

    def begin(
        self, session: ApiSession, *, address: str, user_agent: str, is_shared: bool = False, sid: object = None
    ) -> "SessionRecord":
        """Create the record of a new sign-in. With `is_shared`, other requests of the same sign-in can open it.

        `sid` is the id of the provider's session, None if it has none.
        """
        return self.create(
            id=session.id,
            user_id=str(session.user.id)[:255],
            user_key=user_key(session.user),
            sid_key=sid_key(sid),
            user_name=session.user.name[:255],
            user_name_lower=session.user.name.lower()[:255],
            sealed=session.seal_for_record() if is_shared else "",
            expires_at=session.expiry(),
            expiry_check_at=session.expiry(),
            address=address or None,
            user_agent=clean_text(user_agent, 255),
        )

    def claim(
        self,
        session_id: UUID,
        *,
        generation: int,
        owner: str,
        lease_seconds: float,
        device_keys: Iterable[str] = ("",),
        run_out: "SessionRecord | None" = None,
    ) -> bool:
        """Take the lease to rotate `generation`, unless another request has it or a pause after a failure runs.

        Only if the session is bound to one of these `device_keys`; "" is for an unbound one. The record may be behind
        its cookie, after a restored backup or a rotation that could not be stored. `run_out` is the record whose lease
        has run out. It is taken too, if no request has claimed or renewed it since.
        """
        values: dict[str, Any] = {
            "session_id": session_id,
            "generation": generation,
            "owner": owner,
            "duration": timedelta(seconds=lease_seconds),
            "lease_host_time": _lease_host_time(owner, lease_seconds),
        }
        keys = list(device_keys)
        if run_out is None and len(keys) <= 2:
            return self._run(statements.CLAIM, **values, device_key=keys[0], other_device_key=keys[-1])
        unleased = statements.NOT_LEASED
        if run_out is not None and run_out.lease_until is not None:
            # Not `=`: SQLite compares times as text, and has two forms of the same time.
            same_end = run_out.lease_until - timedelta(milliseconds=1), run_out.lease_until
            unleased |= Q(lease_owner=run_out.lease_owner, lease_until__range=same_end)
        claimable, changes = statements.claim(self, **values, device_keys=keys, unleased=unleased)
        return bool(claimable.update(**changes))

    def renew(self, session_id: UUID, *, owner: str, lease_seconds: float) -> bool:
        """Extend the lease for a second attempt, if `owner` still has it."""
        return bool(
            self.not_ended(session_id)
            .filter(lease_owner=owner)
            .update(
                lease_until=Now() + timedelta(seconds=lease_seconds),
                lease_host_time=_lease_host_time(owner, lease_seconds),
            )
        )

    def release(self, session_id: UUID, *, owner: str, retry_in: float | None = None) -> bool:
        """Release the lease. With `retry_in`, no request can claim it for that many seconds, at most 60."""
        retry_at = None if retry_in is None else Now() + timedelta(seconds=min(retry_in, LONGEST_PAUSE_SECONDS))
        return bool(
            self.not_ended(session_id)
            .filter(lease_owner=owner)
            .update(lease_owner="", lease_until=None, retry_at=retry_at)
        )

    def store(self, session: ApiSession, event: "SessionEvent") -> bool:
        """Store a new generation and its event, unless the record has it already or has a newer one.

        The generation decides, not the lease: a request that stalled beyond its lease still has the only valid pair.
        """
        return self._run(
            statements.STORE,
            session_id=session.id,
            generation=session.generation,
            # Sessions of an earlier release have none, and the API may have a new address.
            user_key=user_key(session.user),
            sealed=session.seal_for_record(),
            **_expiry(session),
            # Earlier releases do not write it. So it tells which generations a host of this one stored without a key:
            # a copy from before the binding may have made them.
            unbound_generation=None if session.device else session.generation,
            event=event.to_line(),
        )

    def catch_up(self, session: ApiSession) -> bool:
        """Store a generation that the record missed: its own UPDATE failed, or a backup was restored.

        Does not touch the lease: another request may be rotating this generation.
        """
        records, sealed = self.not_ended(session.id), session.seal_for_record()
        records = records.filter(generation__lt=session.generation)
        return bool(records.update(generation=session.generation, sealed=sealed, **_expiry_fields(session)))

    def set_expiry(self, session: ApiSession) -> bool:
        """Store when the session expires, if it holds the newest generation."""
        return bool(self.not_ended(session.id).filter(generation=session.generation).update(**_expiry_fields(session)))

    def update_newest(self, session: ApiSession) -> bool:
        """Replace the sealed copy of this generation, if it is the newest and there is a copy."""
        records = self.not_ended(session.id).filter(generation=session.generation).exclude(sealed="")
        return bool(records.update(sealed=session.seal_for_record()))

    def confirm_newest(self, session: ApiSession, device: str, event: "SessionEvent") -> bool:
        """Store that the browser presented the newest generation, which no request had presented before; and its event.

        `device` is the key that the browser presented. Changes nothing if it is not the newest one, if the session has
        ended or is bound otherwise, or if the retired generations have to be read first. Then `confirm` can do it.
        """
        if connections[self._alias].vendor not in json_functions.VENDORS:
            return False
        now = host_time(time.monotonic(), time.time())
        return self._run(
            statements.CONFIRM,
            session_id=session.id,
            generation=session.generation,
            device_key=device_key(device),
            host_time={str(session.generation): now},
            event=event.to_line(),
        )

    def confirm(self, record: "SessionRecord", generation: int, event: "SessionEvent", **retired: Any) -> bool:
        """Store that the browser presented `generation`, its event, and the fields with the `retired` generations.

        Changes nothing if another request has changed the record since `record` was fetched.
        """
        return bool(
            self.not_ended(record.pk)
            .filter(confirmed=record.confirmed, generation=record.generation)
            .update(
                confirmed=generation,
                confirmed_at=Now(),
                recent_events=statements.with_recent_event(Value(event.to_line(), output_field=JSONField())),
                **retired,
            )
        )

    def bind(self, record: "SessionRecord", device: str) -> bool:
        """Bind the session to the key `device`: the browser has sent a cookie with this key.

        Changes nothing if another request has changed the binding or the generation since `record` was fetched.
        """
        now = record.fetched_at
        return self._set_device_key(
            record,
            device_key=device_key(device),
            device_generation=record.generation,
            device_bound_at=Now(),
            device_host_time=host_time(now.monotonic, now.time_of_day),
        )

    def unbind(self, record: "SessionRecord") -> bool:
        """A host of an earlier release has rotated the session, and dropped the key."""
        return self._set_device_key(record, device_key="")

    def _set_device_key(self, record: "SessionRecord", **fields: Any) -> bool:
        unchanged = {name: getattr(record, name) for name in ("device_key", "device_generation", "generation")}
        return bool(self.not_ended(record.pk).filter(**unchanged).update(**fields))

    def end(self, session_id: UUID, reason: EndReason, *, up_to_generation: int | None = None) -> bool:
        """End the session for all browsers, and delete its sealed copy.

        With `up_to_generation`, only if no newer generation was stored in the meantime.
        """
        records = self.not_ended(session_id)
        if up_to_generation is not None:
            records = records.filter(generation__lte=up_to_generation)
        return bool(
            records.update(
                ended_at=Now(), end_reason=reason, sealed="", lease_owner="", lease_until=None, retry_at=None
            )
        )

    def set_revocations_left(self, record: "SessionRecord", number: int, *, instead_of: int) -> bool:
        """Store how many more requests may revoke the pair, unless another request has done so."""
        return bool(self.filter(pk=record.pk, revocations_left=instead_of).update(revocations_left=number))


def _expiry(session: ApiSession) -> dict[str, datetime | None]:
    """The values of `statements.expiry`. Soon: when three quarters of the time are over.

    So among the sessions in use, few are ever due.
    """
    expires_at, now = session.expiry(), timezone.now()
    return {"expires_at": expires_at, "soon": None if expires_at is None else now + (expires_at - now) / 4}


def _expiry_fields(session: ApiSession) -> dict[str, Any]:
    return statements.expiry(**{name: Value(at, models.DateTimeField()) for name, at in _expiry(session).items()})


def _lease_host_time(owner: str, seconds: float) -> list[Any]:
    """For a lease that begins now. Other releases do not write `lease_host_time`, so it has an owner."""
    return [owner, seconds, *host_time(time.monotonic(), time.time())]
