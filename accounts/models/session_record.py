"""The record of each sign-in. It decides which request may rotate the session, and the admin shows it.

Each change is one conditional UPDATE of one row, keyed by the session id. So any database that Django supports can
decide, and several databases can share the rows. Times are compared by the database's clock, never by the clocks of
the hosts.
"""

import time
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from accounts.session.api_session import ApiSession
from accounts.text import clean_text


class EndReason(models.TextChoices):
    """Why a session ended. Nothing else ends one."""

    REFUSED = "refused", "the API refused the refresh token"
    EXPIRED = "expired", "the refresh token expired"
    SIGNED_OUT = "signed-out", "the user signed out"
    REPLACED = "replaced", "the user signed in again"
    REVOKED = "revoked", "staff ended it"
    REUSED = "reused", "a copied cookie was used"


class SessionRecordQuerySet(models.QuerySet["SessionRecord"]):
    """The statements of the rotation. Each UPDATE returns whether it changed the row."""

    def not_ended(self, session_id: UUID) -> "SessionRecordQuerySet":
        return self.filter(pk=session_id, ended_at=None)

    def fetch(self, session_id: UUID) -> "SessionRecord | None":
        """The record with the time of this query, by both clocks; None if there is no record."""
        record = self.annotate(now=Now()).filter(pk=session_id).first()
        if record is not None:
            # Read after the query: its duration can only date a request's arrival too early, never too late.
            record.database_time, record.monotonic_time = record.now, time.monotonic()  # type: ignore[attr-defined]
        return record

    def active(self) -> "SessionRecordQuerySet":
        """Sessions that a browser can still use, as far as this site knows."""
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=Now()), ended_at=None)

    def expired(self) -> "SessionRecordQuerySet":
        """Sessions whose refresh token has expired, and which no request has ended yet."""
        return self.filter(ended_at=None, expires_at__lte=Now())

    def ended(self) -> "SessionRecordQuerySet":
        return self.filter(ended_at__isnull=False)

    def begin(self, session: ApiSession, *, address: str, user_agent: str) -> "SessionRecord":
        """Create the record of a new sign-in."""
        return self.create(
            id=session.id,
            user_id=str(session.user.id)[:255],
            user_name=session.user.name[:255],
            user_name_lower=session.user.name.lower()[:255],
            expires_at=session.tokens.refresh_expiry(),
            address=address or None,
            user_agent=clean_text(user_agent, 255),
        )

    def claim(self, session_id: UUID, *, generation: int, owner: str, lease_seconds: float) -> bool:
        """Take the lease to rotate `generation`, unless another request has it or a pause after a failure runs.

        The record may be behind its cookie, after a restored backup or a rotation that could not be stored.
        """
        unleased = Q(lease_until=None) | Q(lease_until__lte=Now())
        not_paused = Q(retry_at=None) | Q(retry_at__lte=Now())
        return bool(
            self.not_ended(session_id)
            .filter(unleased, not_paused, generation__lte=generation)
            .update(lease_owner=owner, lease_until=Now() + timedelta(seconds=lease_seconds), retry_at=None)
        )

    def renew(self, session_id: UUID, *, owner: str, lease_seconds: float) -> bool:
        """Extend the lease for a second attempt, if `owner` still has it."""
        return bool(
            self.not_ended(session_id)
            .filter(lease_owner=owner)
            .update(lease_until=Now() + timedelta(seconds=lease_seconds))
        )

    def release(self, session_id: UUID, *, owner: str, retry_in: float | None = None) -> bool:
        """Release the lease. With `retry_in`, no request can claim it for that many seconds."""
        retry_at = None if retry_in is None else Now() + timedelta(seconds=retry_in)
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
                sealed=session.seal_for_record(),
                last_rotated_at=Now(),
                expires_at=session.tokens.refresh_expiry(),
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
                expires_at=session.tokens.refresh_expiry(),
            )
        )

    def confirm(self, record: "SessionRecord", generation: int, *, retired: list[list[float]]) -> bool:
        """Store that the browser presented `generation`, and the `retired` generations.

        Changes nothing if another request has changed the record since `record` was fetched.
        """
        return bool(
            self.not_ended(record.pk)
            .filter(confirmed=record.confirmed, generation=record.generation)
            .update(confirmed=generation, confirmed_at=Now(), retired=retired)
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


_ENDED, _NOT_ENDED = Q(ended_at__isnull=False), Q(ended_at__isnull=True)


class SessionRecord(models.Model):
    """One sign-in. Holds no readable token: `sealed` opens only with the secret in the session's own cookie."""

    id = models.UUIDField(primary_key=True, editable=False)

    generation = models.PositiveBigIntegerField("newest generation", default=0)
    confirmed = models.PositiveBigIntegerField("newest generation that the browser has sent", default=0)
    confirmed_at = models.DateTimeField(null=True, blank=True)
    # [[generation, time], ...]: when the confirmation of that generation retired the older ones. See `retired_by`.
    retired = models.JSONField(default=list, blank=True)
    sealed = models.TextField("the newest session, sealed", blank=True, default="")

    lease_owner = models.CharField(max_length=64, blank=True, default="")
    lease_until = models.DateTimeField(null=True, blank=True)
    retry_at = models.DateTimeField(null=True, blank=True)

    ended_at = models.DateTimeField(null=True, blank=True)
    end_reason = models.CharField(max_length=16, blank=True, default="", choices=EndReason)

    user_id = models.CharField("user id at the API", max_length=255)
    user_name = models.CharField("user", max_length=255)
    # For searches: SQLite and PostgreSQL have no index in common that ignores case.
    user_name_lower = models.CharField(max_length=255, db_default="", editable=False)
    signed_in_at = models.DateTimeField("signed in", db_default=Now())
    last_rotated_at = models.DateTimeField("last rotated", null=True, blank=True)
    expires_at = models.DateTimeField("expires", null=True, blank=True)
    address = models.GenericIPAddressField(null=True, blank=True)
    user_agent = models.CharField(max_length=255, blank=True, default="")

    objects = SessionRecordQuerySet.as_manager()

    # Set by `fetch`: the same moment by the database's clock and by time.monotonic().
    database_time: datetime
    monotonic_time: float

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
        return self.ended_at is not None and self.ended_at.timestamp() <= self.to_database_time(arrived)

    def had_rotated_by(self, arrived: float) -> bool:
        """Whether the newest generation had been stored when a request arrived, at `arrived` (time.monotonic())."""
        return self.last_rotated_at is not None and self.last_rotated_at.timestamp() <= self.to_database_time(arrived)

    def to_database_time(self, moment: float) -> float:
        """Convert a time.monotonic() of this process to seconds since the epoch by the database's clock."""
        return self.database_time.timestamp() - (self.monotonic_time - moment)

    def is_leased_to_another(self, owner: str) -> bool:
        """Whether another request than `owner` is rotating now."""
        return self.lease_owner != owner and self.lease_until is not None and self.lease_until > self.database_time

    def retry_in(self) -> float:
        """Seconds until the end of the pause after a failure; 0 if there is no pause."""
        return max(0.0, (self.retry_at - self.database_time).total_seconds()) if self.retry_at else 0.0
