"""Requests recorded for the request trace."""

from uuid import UUID

from django.db import models


class TracedRequestQuerySet(models.QuerySet["TracedRequest"]):
    """The requests that the request trace of a session shows, where API_TRACE is on."""

    def of(self, session_id: UUID, count: int) -> "list[TracedRequest]":
        """The session's `count` newest requests, the newest first. Of each request, the row that was written last."""
        rows = list(self._newest_rows(session_id)[: 2 * count])
        newest = {row.trace_id: row for row in reversed(rows)}
        return sorted(newest.values(), key=lambda row: row.at, reverse=True)[:count]

    def ids_of(self, session_id: UUID, count: int) -> set[int]:
        """The primary keys of the `count` rows that were written last."""
        return set(self._newest_rows(session_id).values_list("pk", flat=True)[:count])

    def forget_older(self, session_id: UUID, *, kept: int) -> None:
        """Keep the `kept` rows that were written last."""
        last = self._newest_rows(session_id).values_list("pk", flat=True)[kept : kept + 1].first()
        if last is not None:
            self.filter(session_id=session_id, pk__lte=last).delete()

    def _newest_rows(self, session_id: UUID) -> "TracedRequestQuerySet":
        return self.filter(session_id=session_id).order_by("-pk")


class TracedRequest(models.Model):
    """The steps of one request (`accounts.telemetry.trace`), for the request trace. Nothing in it is secret.

    A streamed response has two rows: one when its headers are sent and one when its body ends. The later row has all.
    """

    session_id = models.UUIDField()
    trace_id = models.UUIDField(db_column="exchange")
    request_id = models.CharField(max_length=64, blank=True, default="")
    at = models.DateTimeField("arrived, by the clock of the host")
    steps = models.JSONField(default=list)

    objects = TracedRequestQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        indexes = (
            models.Index(fields=["session_id", "-id"], name="accounts_traced_newest"),
            models.Index(fields=["at"], name="accounts_traced_old"),
        )

    def __str__(self) -> str:
        return f"a request of session {self.session_id}"
