"""How staff end sessions: those that they selected in the list, one on its own page, or all of its user."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from accounts.browser.user_agent import describe_browser
from accounts.conf import conf
from accounts.models import EndReason, SessionRecord
from accounts.rotation.ending import end_session

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[SessionRecord]
else:
    ModelAdmin = admin.ModelAdmin

#: Each costs a statement, and a field of the form that asks for confirmation (DATA_UPLOAD_MAX_NUMBER_FIELDS).
MAX_ENDED_AT_ONCE = 500


class SessionEnding(ModelAdmin):
    """Every way to end sessions shows them and asks for confirmation first."""

    actions = ("end_sessions",)

    def has_end_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("accounts.end_sessionrecord")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.end_view)
        return [
            path("<uuid:session_id>/end/", view, name="accounts_sessionrecord_end"),
            path("<uuid:session_id>/end/all/", view, {"all_of_user": True}, name="accounts_sessionrecord_end_all"),
            *super().get_urls(),
        ]

    def end_view(self, request: HttpRequest, session_id: UUID, *, all_of_user: bool = False) -> HttpResponse:
        """End this session, or with `all_of_user` all sessions of its user, after a page that asks for confirmation."""
        if not (self.has_view_permission(request) and self.has_end_permission(request)):
            raise PermissionDenied
        record = get_object_or_404(self.get_queryset(request), pk=session_id)
        sessions = sessions_of_user(record) if all_of_user else self.get_queryset(request).filter(pk=record.pk)
        found = list(sessions.filter(ended_at=None)[: MAX_ENDED_AT_ONCE + 1])
        living, has_more = found[:MAX_ENDED_AT_ONCE], len(found) > MAX_ENDED_AT_ONCE
        if living and "confirmed" not in request.POST:
            back = reverse("admin:accounts_sessionrecord_change", args=[record.pk])
            return self._confirmation_page(request, living, back=back, has_more=has_more)
        self._end(request, living)
        if has_more:
            self.message_user(request, "This user has more sessions. End all once more.", messages.WARNING)
        return redirect("admin:accounts_sessionrecord_change", record.pk)

    @admin.action(description="End selected sessions", permissions=["end"])
    def end_sessions(self, request: HttpRequest, queryset: QuerySet[SessionRecord]) -> HttpResponse | None:
        """Show the sessions and ask for confirmation; then end them."""
        living = list(queryset.filter(ended_at=None)[: MAX_ENDED_AT_ONCE + 1])
        if len(living) > MAX_ENDED_AT_ONCE:
            text = f"No session ended: more than {MAX_ENDED_AT_ONCE} are selected. Search or filter for fewer."
            self.message_user(request, text, messages.ERROR)
        elif living and "confirmed" not in request.POST:
            fields = [("action", "end_sessions"), *((ACTION_CHECKBOX_NAME, record.pk) for record in living)]
            return self._confirmation_page(request, living, back=request.get_full_path(), fields=fields)
        else:
            self._end(request, living)
        return None

    def _end(self, request: HttpRequest, living: list[SessionRecord]) -> None:
        ended = [record for record in living if end_session(record.id, EndReason.REVOKED, user_id=record.user_id)]
        if not ended:
            self.message_user(request, "0 sessions ended: they had ended before.", messages.WARNING)
            return
        LogEntry.objects.log_actions(cast(int, request.user.pk), ended, CHANGE, "Ended the session.")
        number = "1 session" if len(ended) == 1 else f"{len(ended)} sessions"
        self.message_user(request, f"{number} ended.", messages.SUCCESS)

    def _confirmation_page(
        self,
        request: HttpRequest,
        living: list[SessionRecord],
        *,
        back: str,
        fields: Iterable[tuple[str, Any]] = (),
        has_more: bool = False,
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": "End sessions",
            "opts": self.opts,
            "media": self.media,
            "sessions": [(record, describe_browser(record.user_agent)) for record in living],
            "has_more": has_more,
            "fields": fields,
            "back": back,
            "is_over_at_once": conf.checks_every_request,
        }
        return TemplateResponse(request, "admin/accounts/sessionrecord/end_sessions.html", context)


def sessions_of_user(record: SessionRecord) -> QuerySet[SessionRecord]:
    """The sessions of the same user at the same API; none if it is not known who that is.

    Those that an earlier release began have no `user_key` until they are rotated. They count too: staff see whom they
    sign out.
    """
    records = SessionRecord.objects.defer("sealed", "retired")
    if not record.user_key:
        return records.none()
    return records.filter(user_id=record.user_id, user_key__in=(record.user_key, ""))
