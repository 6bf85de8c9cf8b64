"""Session events, for the timeline, the chart and the log."""

from datetime import UTC, datetime
from uuid import UUID

from django.db import models

from accounts.models.end_reason import EndReason


class EventKind(models.TextChoices):
    """The kinds of events. The last eleven are the reasons for the end of a session."""

    SIGNED_IN = "signed-in", "signed in"
    ROTATED = "rotated", "rotated"
    UNSTORED = "unstored", "rotated, but the new session could not be stored: only the cookie holds it"
    ADOPTED = "adopted", "picked up: the response with the newest session had not reached the browser"
    UPDATE_SENT = "handed-off", "session update sent in the body of a stream"
    UPDATE_ACCEPTED = "handed-over", "session update accepted into the cookie"
    CONFIRMED = "confirmed", "confirmed: the browser has the newest session"
    BOUND = "bound", "bound to the device of the browser"
    UNPROVEN = "unproven", "not served: the cookie came without a proof of its device"
    API_UNAVAILABLE = "api-away", "the API gave no usable response to the refresh"
    REFUSED = EndReason.REFUSED.value, "ended: the API refused the refresh token"
    EXPIRED = EndReason.EXPIRED.value, "ended: the refresh token expired"
    SIGNED_OUT = EndReason.SIGNED_OUT.value, "ended: the user signed out"
    REPLACED = EndReason.REPLACED.value, "ended: the user signed in again"
    REVOKED = EndReason.REVOKED.value, "ended: staff ended it"
    MAX_AGE = EndReason.MAX_AGE.value, "ended: it reached its maximum age"
    IDLE = EndReason.IDLE.value, "ended: it was not used for too long"
    REUSED = EndReason.REUSED.value, "ended for all browsers: an old cookie was used again"
    ENDED_ELSEWHERE = EndReason.ENDED_ELSEWHERE.value, "ended: the user ended it from another browser"
    BY_PROVIDER = EndReason.BY_PROVIDER.value, "ended: the provider ended it"
    OTHER_USER = EndReason.OTHER_USER.value, "ended: a refresh returned the tokens of another user"


class Trigger(models.TextChoices):
    """The reason for a rotation."""

    UNAUTHORIZED = "401", "on a 401"
    EARLY = "early", "early"
    EXPIRED = "expired", "after expiry"
    STREAM = "stream", "before a stream"


class SessionEvent(models.Model):
    """An event of a session, for people to read. It decides nothing and holds no secret.

    A background thread writes events in batches (`accounts.history.background_writer`). An event can be lost, and can
    exist longer than its record. Routine events get no row: see `SessionRecord.recent_events`.
    """

    # No foreign key: the record may be gone when the event is written.
    session_id = models.UUIDField()
    kind = models.CharField(max_length=16, choices=EventKind)
    trigger = models.CharField(max_length=8, blank=True, default="", choices=Trigger)
    at = models.DateTimeField("when, by the clock of the host")
    generation = models.PositiveBigIntegerField(null=True, blank=True)
    duration_ms = models.PositiveIntegerField("duration of the refresh in milliseconds", null=True, blank=True)
    request_id = models.CharField(max_length=64, blank=True, default="")
    address = models.GenericIPAddressField(null=True, blank=True)

    class Meta:
        # Shown with its session, and to the same staff.
        default_permissions = ()
        indexes = (
            models.Index(fields=["session_id", "at"], name="accounts_event_timeline"),
            # For the counts of each hour, and for the deletion of old events.
            models.Index(fields=["at", "kind"], name="accounts_event_counts"),
        )

    def __str__(self) -> str:
        return f"session {self.session_id}: {self.kind}"

    def to_line(self) -> str:
        """This event as an item of `SessionRecord.recent_events`. One text takes less room there than a list."""
        fields = [self.kind, self.at.timestamp(), self.generation, self.request_id, self.address]
        if self.duration_ms is not None:
            fields += [self.trigger, self.duration_ms]
        return " ".join("" if field is None else str(field) for field in fields)

    @classmethod
    def from_line(cls, session_id: UUID, line: str) -> "SessionEvent":
        """The event that `to_line` made the text of. A later release may have added fields."""
        kind, at, generation, request_id, address, trigger, duration_ms, *_ = [*line.split(" "), "", ""]
        return cls(
            session_id=session_id,
            kind=kind,
            trigger=trigger,
            at=datetime.fromtimestamp(float(at), UTC),
            generation=int(generation) if generation else None,
            duration_ms=int(duration_ms) if duration_ms else None,
            request_id=request_id,
            address=address or None,
        )
