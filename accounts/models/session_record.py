"""The record of each sign-in. It decides which request may rotate the session, and the admin shows it.

Each change is one conditional UPDATE of one row, keyed by the session id. So any database that Django supports can
decide, and several databases can share the rows. Times are compared by the database's clock. Where a wrong clock could
end a session, the clock of the host that stored a time is its second witness (`clocks.py`).
"""

import time
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import models, router
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from accounts.models.clocks import Moment, host_time
from accounts.models.end_reason import EndReason
from accounts.models.user_key import user_key
from accounts.session.api_session import ApiSession
from accounts.text import clean_text

#: The longest pause after a failure. One that ends later was set before the database's clock was set back.
LONGEST_PAUSE_SECONDS = 60.0


class SessionRecordQuerySet(models.QuerySet["SessionRecord"]):
    """The statements of the rotation. Each UPDATE returns whether it changed the row."""

    def not_ended(self, session_id: UUID) -> "SessionRecordQuerySet":
        return self.filter(pk=session_id, ended_at=None)

    def fetch(self, session_id: UUID) -> "SessionRecord | None":
        """The record with the time of this query, by all clocks; None if there is no record.

        From the database that is written to: a replica that lags behind does not know a new session.
        """
        records = self.using(router.db_for_write(self.model))
        record = records.annotate(now=Now()).filter(pk=session_id).first()
        if record is not None:
            # Read after the query: its duration can only date a request's arrival too early, never too late.
            now: datetime = record.now  # type: ignore[attr-defined]
            record.fetched_at = Moment(now.timestamp(), time.monotonic(), time.time())
        return record

    def active(self) -> "SessionRecordQuerySet":
        """Sessions that a browser can still use, as far as this site knows."""
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=Now()), ended_at=None)

    def expired(self) -> "SessionRecordQuerySet":
        """Sessions whose refresh token has expired, and which no request has ended yet."""
        return self.filter(ended_at=None, expires_at__lte=Now())

    def ended(self) -> "SessionRecordQuerySet":
        return self.filter(ended_at__isnull=False)

    def of_same_user(self, record: "SessionRecord") -> "SessionRecordQuerySet":
        """The sessions of the same user at the same API; only `record` if it does not say who the user is."""
        if not record.user_key:
            return self.filter(pk=record.pk)
        # An index has `user_id`.
        return self.filter(user_id=record.user_id, user_key=record.user_key)

    def begin(self, session: ApiSession, *, address: str, user_agent: str, is_shared: bool = False) -> "SessionRecord":
        """Create the record of a new sign-in. With `is_shared`, other requests of the same sign-in can open it."""
        return self.create(
            id=session.id,
            user_id=str(session.user.id)[:255],
            user_key=user_key(session.user),
            user_name=session.user.name[:255],
            user_name_lower=session.user.name.lower()[:255],
            sealed=session.seal_for_record() if is_shared else "",
            expires_at=session.expiry(),
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
        run_out: "SessionRecord | None" = None,
    ) -> bool:
        """Take the lease to rotate `generation`, unless another request has it or a pause after a failure runs.

        The record may be behind its cookie, after a restored backup or a rotation that could not be stored. `run_out`
        is the record whose lease has run out. It is taken too, if no request has claimed or renewed it since.
        """
        unleased = Q(lease_until=None)
        if run_out is not None and run_out.lease_until is not None:
            # Not `=`: SQLite compares times as text, and has two forms of the same time.
            same_end = run_out.lease_until - timedelta(milliseconds=1), run_out.lease_until
            unleased |= Q(lease_owner=run_out.lease_owner, lease_until__range=same_end)
        longest_pause = Now() + timedelta(seconds=LONGEST_PAUSE_SECONDS)
        not_paused = Q(retry_at=None) | Q(retry_at__lte=Now()) | Q(retry_at__gt=longest_pause)
        return bool(
            self.not_ended(session_id)
            .filter(unleased, not_paused, generation__lte=generation)
            .update(lease_owner=owner, retry_at=None, **_lease(owner, lease_seconds))
        )

    def renew(self, session_id: UUID, *, owner: str, lease_seconds: float) -> bool:
        """Extend the lease for a second attempt, if `owner` still has it."""
        return bool(self.not_ended(session_id).filter(lease_owner=owner).update(**_lease(owner, lease_seconds)))

    def release(self, session_id: UUID, *, owner: str, retry_in: float | None = None) -> bool:
        """Release the lease. With `retry_in`, no request can claim it for that many seconds, at most 60."""
        retry_at = None if retry_in is None else Now() + timedelta(seconds=min(retry_in, LONGEST_PAUSE_SECONDS))
        return bool(
            self.not_ended(session_id)
            .filter(lease_owner=owner)
            .update(lease_owner="", lease_until=None, retry_at=retry_at)
        )

    def store(self, session: ApiSession) -> bool:
        """Store a new generation, unless the record has it already or has a newer one.

        The generation decides, not the lease: a request that stalled beyond its lease still has the only valid pair.
        """
        return bool(
            self.not_ended(session.id)
            .filter(generation__lt=session.generation)
            .update(
                generation=session.generation,
                # Sessions of an earlier release have none, and the API may have a new address.
                user_key=user_key(session.user),
                sealed=session.seal_for_record(),
                last_rotated_at=Now(),
                expires_at=session.expiry(),
                lease_owner="",
                lease_until=None,
                retry_at=None,
            )
        )

    def catch_up(self, session: ApiSession) -> bool:
        """Store a generation that the record missed: its own UPDATE failed, or a backup was restored.

        Does not touch the lease: another request may be rotating this generation.
        """
        return bool(
            self.not_ended(session.id)
            .filter(generation__lt=session.generation)
            .update(
                generation=session.generation,
                sealed=session.seal_for_record(),
                expires_at=session.expiry(),
            )
        )

    def update_newest(self, session: ApiSession) -> bool:
        """Replace the sealed copy of this generation, if it is the newest and there is a copy."""
        records = self.not_ended(session.id).filter(generation=session.generation).exclude(sealed="")
        return bool(records.update(sealed=session.seal_for_record()))

    def confirm(self, record: "SessionRecord", generation: int, **retired: Any) -> bool:
        """Store that the browser presented `generation`, and the fields with the `retired` generations.

        Changes nothing if another request has changed the record since `record` was fetched.
        """
        return bool(
            self.not_ended(record.pk)
            .filter(confirmed=record.confirmed, generation=record.generation)
            .update(confirmed=generation, confirmed_at=Now(), **retired)
        )

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


def _lease(owner: str, seconds: float) -> dict[str, Any]:
    """The fields of a lease that begins now. Other releases do not write `lease_host_time`, so it has an owner."""
    begun = host_time(time.monotonic(), time.time())
    return {"lease_until": Now() + timedelta(seconds=seconds), "lease_host_time": [owner, seconds, *begun]}


_ENDED, _NOT_ENDED = Q(ended_at__isnull=False), Q(ended_at__isnull=True)


class SessionRecord(models.Model):
    """One sign-in. Holds no readable token: `sealed` opens only with the secret in the session's own cookie."""

    id = models.UUIDField(primary_key=True, editable=False)

    generation = models.PositiveBigIntegerField("newest generation", default=0)
    confirmed = models.PositiveBigIntegerField("newest generation that the browser has sent", default=0)
    confirmed_at = models.DateTimeField(null=True, blank=True)
    # [[generation, time], ...]: when the confirmation of that generation retired the older ones. See `retired_by`.
    retired = models.JSONField(default=list, blank=True)
    # {generation: host_time}: the same confirmations, by the clock of the host that stored them.
    retired_host_times = models.JSONField(null=True, blank=True, editable=False)
    sealed = models.TextField("the newest session, sealed", blank=True, default="")

    lease_owner = models.CharField(max_length=64, blank=True, default="")
    lease_until = models.DateTimeField(null=True, blank=True)
    # [lease_owner, the seconds of the lease, *host_time of its begin]
    lease_host_time = models.JSONField(null=True, blank=True, editable=False)
    retry_at = models.DateTimeField(null=True, blank=True)

    ended_at = models.DateTimeField(null=True, blank=True)
    # How many more requests may revoke the pair of a session that staff ended. 0 after a success.
    revocations_left = models.PositiveSmallIntegerField(db_default=3, editable=False)
    end_reason = models.CharField(max_length=16, blank=True, default="", choices=EndReason)

    user_id = models.CharField("user id at the API", max_length=255)
    # See `user_key()`. `user_id` is cut, and says nothing of the API.
    user_key = models.CharField(max_length=64, db_default="", editable=False)
    user_name = models.CharField("user", max_length=255)
    # For searches: SQLite and PostgreSQL have no index in common that ignores case.
    user_name_lower = models.CharField(max_length=255, db_default="", editable=False)
    signed_in_at = models.DateTimeField("signed in", db_default=Now())
    last_rotated_at = models.DateTimeField("last rotated", null=True, blank=True)
    expires_at = models.DateTimeField("expires", null=True, blank=True)
    address = models.GenericIPAddressField(null=True, blank=True)
    user_agent = models.CharField(max_length=255, blank=True, default="")

    objects = SessionRecordQuerySet.as_manager()

    # Set by `fetch`.
    fetched_at: Moment

    class Meta:
        verbose_name = "session"
        default_permissions = ("view",)
        permissions = (("end_sessionrecord", "Can end sessions"),)
        ordering = ("-signed_in_at",)
        # A rotation updates each index that contains sessions that have not ended.
        indexes = (
            models.Index(fields=["-signed_in_at", "-id"], name="accounts_session_newest"),
            models.Index(fields=["end_reason", "-signed_in_at", "-id"], name="accounts_session_reason"),
            models.Index(fields=["-signed_in_at", "-id"], name="accounts_session_ended", condition=_ENDED),
            models.Index(fields=["ended_at"], name="accounts_session_end", condition=_ENDED),
            # With `ended_at`, because SQLite would read it from the row to count.
            models.Index(fields=["expires_at", "ended_at"], name="accounts_session_expiry", condition=_NOT_ENDED),
            # Searched by prefix, for which PostgreSQL needs the operator class.
            models.Index(fields=["user_id"], name="accounts_session_user", opclasses=["varchar_pattern_ops"]),
            models.Index(fields=["user_name_lower"], name="accounts_session_name", opclasses=["varchar_pattern_ops"]),
        )

    def __str__(self) -> str:
        return f"session {self.id}"

    @property
    def state(self) -> str:
        """For people: active, expired, or ended with the reason."""
        if self.ended_at is not None:
            return f"ended: {self.get_end_reason_display()}"
        return "expired" if self.expires_at is not None and self.expires_at <= timezone.now() else "active"

    @property
    def is_confirmed(self) -> bool:
        """Whether the browser has sent the newest generation."""
        return self.confirmed >= self.generation

    def newest(self, session: ApiSession) -> ApiSession:
        """The newest session, opened with the secret of `session`; `session` if the record has no newer one.

        Raises CannotOpen.
        """
        if self.generation <= session.generation:
            return session
        newest = session.open_record(self.sealed)
        return replace(newest, confirmed=self.confirmed >= newest.generation)

    def had_ended_by(self, arrived: float) -> bool:
        """Whether the session had ended when a request arrived, at `arrived` (time.monotonic())."""
        return self.ended_at is not None and self.ended_at.timestamp() <= self.fetched_at.to_database_time(arrived)

    def had_rotated_by(self, arrived: float) -> bool:
        """Whether the newest generation had been stored when a request arrived, at `arrived` (time.monotonic())."""
        return (
            self.last_rotated_at is not None
            and self.last_rotated_at.timestamp() <= self.fetched_at.to_database_time(arrived)
        )

    def retry_in(self) -> float:
        """Seconds until the end of the pause after a failure; 0 if there is no pause."""
        seconds = self.retry_at.timestamp() - self.fetched_at.database if self.retry_at else 0.0
        return max(0.0, seconds) if seconds <= LONGEST_PAUSE_SECONDS else 0.0
