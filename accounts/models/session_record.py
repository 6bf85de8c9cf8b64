"""The record of each sign-in. It decides which request may rotate the session, and the admin shows it.

Each change is one conditional UPDATE of one row, keyed by the session id (`session_statements.py`). So any database
that Django supports can decide, and several databases can share the rows. Times are compared by the database's clock.
Where a wrong clock could end a session, the clock of the host that stored a time is its second witness (`clocks.py`).
"""

from dataclasses import replace
from datetime import UTC, datetime

from django.db import models
from django.db.models import Q, Value
from django.db.models.functions import Now
from django.utils import timezone

from accounts.models.clocks import Moment
from accounts.models.end_reason import EndReason
from accounts.models.rotation_statements import LONGEST_PAUSE_SECONDS
from accounts.models.session_statements import SessionRecordQuerySet
from accounts.session.api_session import ApiSession

_ENDED, _NOT_ENDED = Q(ended_at__isnull=False), Q(ended_at__isnull=True)
_LONG_AGO = Value(datetime(1970, 1, 1, tzinfo=UTC))


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
    # The newest routine events (`SessionEvent.to_line`), oldest first: they get no rows of their own.
    recent_events = models.JSONField(null=True, blank=True, editable=False)

    lease_owner = models.CharField(max_length=64, blank=True, default="")
    lease_until = models.DateTimeField(null=True, blank=True)
    # [lease_owner, the seconds of the lease, *host_time of its begin]
    lease_host_time = models.JSONField(null=True, blank=True, editable=False)
    retry_at = models.DateTimeField(null=True, blank=True)

    # The device's key, see `device_key()`; empty until a cookie with this key has come back.
    device_key = models.CharField(max_length=64, db_default="", editable=False)
    # A cookie without the key and with a newer generation comes from a host of an earlier release.
    device_generation = models.PositiveBigIntegerField(db_default=0, editable=False)
    device_bound_at = models.DateTimeField("bound to the device", null=True, blank=True, editable=False)
    # The same moment as a host_time.
    device_host_time = models.JSONField(null=True, blank=True, editable=False)

    ended_at = models.DateTimeField(null=True, blank=True)
    # How many more requests may revoke the pair of a session that staff ended. 0 after a success.
    revocations_left = models.PositiveSmallIntegerField(db_default=3, editable=False)
    end_reason = models.CharField(max_length=16, blank=True, default="", choices=EndReason)

    user_id = models.CharField("user id at the API", max_length=255)
    # See `user_key()`. `user_id` is cut, and says nothing of the API.
    user_key = models.CharField(max_length=64, db_default="", editable=False)
    # See `sid_key()`. NULL without one, so that the index has only the others.
    sid_key = models.CharField(max_length=64, null=True, editable=False)  # noqa: DJ001
    user_name = models.CharField("user", max_length=255)
    # For searches: SQLite and PostgreSQL have no index in common that ignores case.
    user_name_lower = models.CharField(max_length=255, db_default="", editable=False)
    signed_in_at = models.DateTimeField("signed in", db_default=Now())
    last_rotated_at = models.DateTimeField("last rotated", null=True, blank=True)
    expires_at = models.DateTimeField("expires", null=True, blank=True)
    # A time at or before `expires_at`: the session has not expired until then. NULL without a known expiry. It has the
    # index, because most rotations leave it as it is. Hosts of an earlier release leave it out: long ago.
    expiry_check_at = models.DateTimeField(null=True, db_default=_LONG_AGO, editable=False)
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
        # No index has a column that every rotation changes: PostgreSQL would write to all indexes (no HOT update).
        indexes = (
            models.Index(fields=["-signed_in_at", "-id"], name="accounts_session_newest"),
            models.Index(fields=["end_reason", "-signed_in_at", "-id"], name="accounts_session_reason"),
            models.Index(fields=["-signed_in_at", "-id"], name="accounts_session_ended", condition=_ENDED),
            models.Index(fields=["ended_at"], name="accounts_session_end", condition=_ENDED),
            # With `ended_at`, because SQLite would read it from the row to count.
            models.Index(fields=["expiry_check_at", "ended_at"], name="accounts_session_check", condition=_NOT_ENDED),
            models.Index(fields=["sid_key"], name="accounts_session_sid", condition=Q(sid_key__isnull=False)),
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

    @property
    def device_algorithm(self) -> str:
        """The algorithm of the device's key; empty if the session is bound to no device."""
        return self.device_key.partition(":")[0]

    def newest(self, session: ApiSession) -> ApiSession:
        """The newest session, opened with the secret of `session`; `session` if the record has no newer one.

        It keeps the device's key of `session`: the sealed copy may be from before the registration. Raises CannotOpen.
        """
        if self.generation <= session.generation:
            return session
        newest = session.open_record(self.sealed)
        confirmed = self.confirmed >= newest.generation
        return replace(newest, confirmed=confirmed, device=session.device or newest.device)

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
