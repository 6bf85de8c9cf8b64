"""The record of each sign-in. It decides which request may rotate the session, and the admin shows it.

Every change is one conditional UPDATE of one row, keyed by the session id, so any database that Django supports can
decide, and the rows can be spread over several databases. Times are compared by the database's clock, never by the
clocks of the hosts.
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
    """The verbs of the hand-over. Each says whether it changed the row."""

    def living(self, session_id: UUID) -> "SessionRecordQuerySet":
        return self.filter(pk=session_id, ended_at=None)

    def fetch(self, session_id: UUID) -> "SessionRecord | None":
        """The record as it is now, with the database's time in `fetched_at`; None where there is none."""
        record = self.annotate(database_time=Now()).filter(pk=session_id).first()
        if record is not None:
            # Taken afterwards: what the query took then dates a request's arrival too early, never too late.
            record.fetched_at, record.looked_at = record.database_time, time.monotonic()  # type: ignore[attr-defined]
        return record

    def active(self) -> "SessionRecordQuerySet":
        """Those that a browser can still use, as far as is known here."""
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=Now()), ended_at=None)

    def expired(self) -> "SessionRecordQuerySet":
        """Those whose refresh token has expired, and whose end nobody has noticed yet."""
        return self.filter(ended_at=None, expires_at__lte=Now())

    def ended(self) -> "SessionRecordQuerySet":
        return self.filter(ended_at__isnull=False)

    def begin(self, session: ApiSession, *, address: str, user_agent: str) -> "SessionRecord":
        """Remember a new sign-in."""
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
        """Take the lease to rotate `generation`: nobody else may hold one, and no pause after a failure may run.

        The record may be behind its cookie: it was restored from a backup, or could not store the last rotation.
        """
        free = Q(lease_until=None) | Q(lease_until__lte=Now())
        rested = Q(retry_at=None) | Q(retry_at__lte=Now())
        return bool(
            self.living(session_id)
            .filter(free, rested, generation__lte=generation)
            .update(lease_owner=owner, lease_until=Now() + timedelta(seconds=lease_seconds), retry_at=None)
        )

    def renew(self, session_id: UUID, *, owner: str, lease_seconds: float) -> bool:
        """Start the lease anew before a second attempt, if it is still `owner`'s."""
        return bool(
            self.living(session_id)
            .filter(lease_owner=owner)
            .update(lease_until=Now() + timedelta(seconds=lease_seconds))
        )

    def release(self, session_id: UUID, *, owner: str, retry_in: float | None = None) -> bool:
        """Give the lease back; with `retry_in` nobody may claim for so many seconds."""
        retry_at = None if retry_in is None else Now() + timedelta(seconds=retry_in)
        return bool(
            self.living(session_id)
            .filter(lease_owner=owner)
            .update(lease_owner="", lease_until=None, retry_at=retry_at)
        )

    def store(self, session: ApiSession) -> bool:
        """Keep a freshly minted generation, unless another one of that number or a newer one is there.

        By generation and not by lease: one that stalled beyond its lease still brings the only living pair.
        """
        return bool(
            self.living(session.id)
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
        """Keep a generation that could not be stored when it was minted, or that a restored backup does not know.

        Leaves the lease alone: somebody may be rotating that very generation.
        """
        return bool(
            self.living(session.id)
            .filter(generation__lt=session.generation)
            .update(
                generation=session.generation,
                sealed=session.seal_for_record(),
                expires_at=session.tokens.refresh_expiry(),
            )
        )

    def confirm(self, record: "SessionRecord", generation: int, *, retired: list[list[float]]) -> bool:
        """Note that the browser presented `generation`, and store the `retired` generations.

        Changes nothing if another request has changed the record since `record` was fetched.
        """
        return bool(
            self.living(record.pk)
            .filter(confirmed=record.confirmed, generation=record.generation)
            .update(
                confirmed=generation,
                confirmed_at=Now(),
                retired=retired,
            )
        )

    def end(self, session_id: UUID, reason: EndReason, *, up_to_generation: int | None = None) -> bool:
        """End the session for every holder, and forget its sealed copy.

        With `up_to_generation`, only if no newer generation was stored in the meantime.
        """
        living = self.living(session_id)
        if up_to_generation is not None:
            living = living.filter(generation__lte=up_to_generation)
        return bool(
            living.update(ended_at=Now(), end_reason=reason, sealed="", lease_owner="", lease_until=None, retry_at=None)
        )


_ENDED, _LIVING = Q(ended_at__isnull=False), Q(ended_at__isnull=True)


class SessionRecord(models.Model):
    """One sign-in. Holds no readable token: `sealed` opens only with the secret in the session's own cookie."""

    id = models.UUIDField(primary_key=True, editable=False)

    generation = models.PositiveBigIntegerField("newest generation minted", default=0)
    confirmed = models.PositiveBigIntegerField("newest generation the browser was seen with", default=0)
    confirmed_at = models.DateTimeField(null=True, blank=True)
    # [[generation, time], ...]: when the confirmation of that generation retired the older ones. See
    # `accounts.rotation.reuse_detection`.
    retired = models.JSONField(default=list, blank=True)
    sealed = models.TextField("the newest session, sealed", blank=True, default="")

    lease_owner = models.CharField(max_length=64, blank=True, default="")
    lease_until = models.DateTimeField(null=True, blank=True)
    retry_at = models.DateTimeField(null=True, blank=True)

    ended_at = models.DateTimeField(null=True, blank=True)
    end_reason = models.CharField(max_length=16, blank=True, default="", choices=EndReason)

    user_id = models.CharField("user id at the API", max_length=255)
    user_name = models.CharField("user", max_length=255)
    # To be searched: SQLite and PostgreSQL have no index in common that ignores case.
    user_name_lower = models.CharField(max_length=255, db_default="", editable=False)
    signed_in_at = models.DateTimeField("signed in", db_default=Now())
    last_rotated_at = models.DateTimeField("last rotated", null=True, blank=True)
    expires_at = models.DateTimeField("expires", null=True, blank=True)
    address = models.GenericIPAddressField(null=True, blank=True)
    user_agent = models.CharField(max_length=255, blank=True, default="")

    objects = SessionRecordQuerySet.as_manager()

    # Set by `look`: the database's time, and time.monotonic(), at the moment of the look.
    fetched_at: datetime
    looked_at: float

    class Meta:
        verbose_name = "session"
        default_permissions = ("view",)
        permissions = (("end_sessionrecord", "Can end sessions"),)
        ordering = ("-signed_in_at",)
        # A rotation has to keep those up to date that do not leave out what lives.
        indexes = (
            models.Index(fields=["-signed_in_at", "-id"], name="accounts_session_newest"),
            models.Index(fields=["end_reason", "-signed_in_at", "-id"], name="accounts_session_reason"),
            models.Index(fields=["-signed_in_at", "-id"], name="accounts_session_ended", condition=_ENDED),
            models.Index(fields=["ended_at"], name="accounts_session_end", condition=_ENDED),
            # `ended_at` for SQLite, which looks it up in the row otherwise, to count.
            models.Index(fields=["expires_at", "ended_at"], name="accounts_session_expiry", condition=_LIVING),
            # Searched by how they begin; PostgreSQL needs to be told.
            models.Index(fields=["user_id"], name="accounts_session_user", opclasses=["varchar_pattern_ops"]),
            models.Index(fields=["user_name_lower"], name="accounts_session_name", opclasses=["varchar_pattern_ops"]),
        )

    def __str__(self) -> str:
        return f"session {self.id}"

    @property
    def state(self) -> str:
        """In words: active, expired, or ended and why."""
        if self.ended_at is not None:
            return f"ended: {self.get_end_reason_display()}"
        return "expired" if self.expires_at is not None and self.expires_at <= timezone.now() else "active"

    @property
    def is_confirmed(self) -> bool:
        """Whether the browser has been seen with the newest generation."""
        return self.confirmed >= self.generation

    def newest(self, session: ApiSession) -> ApiSession:
        """The newest session, opened with the secret of `session`, or that where nothing newer is known.

        Raises CannotOpen.
        """
        if self.generation <= session.generation:
            return session
        newest = session.open_record(self.sealed)
        return replace(newest, confirmed=self.confirmed >= newest.generation)

    def had_ended_by(self, arrived: float) -> bool:
        """Whether the session was over when a request came in that arrived at `arrived` (time.monotonic())."""
        return self.ended_at is not None and self.ended_at.timestamp() <= self.to_database_time(arrived)

    def had_rotated_by(self, arrived: float) -> bool:
        """Whether the newest generation was stored when a request came in that arrived at `arrived`."""
        return self.last_rotated_at is not None and self.last_rotated_at.timestamp() <= self.to_database_time(arrived)

    def to_database_time(self, moment: float) -> float:
        """A moment of this process (time.monotonic()) in seconds since the epoch by the database's clock."""
        return self.fetched_at.timestamp() - (self.looked_at - moment)

    def is_leased_to_another(self, owner: str) -> bool:
        """Whether somebody other than `owner` is rotating at this moment."""
        return self.lease_owner != owner and self.lease_until is not None and self.lease_until > self.fetched_at

    def retry_in(self) -> float:
        """Seconds until the pause after a failure is over; 0 if none runs."""
        return max(0.0, (self.retry_at - self.fetched_at).total_seconds()) if self.retry_at else 0.0
