"""Sessions in the admin: to look at and to end, never to edit, and never a token."""

from typing import TYPE_CHECKING

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.ending import end_session
from accounts.models import EndReason, SessionRecord

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[SessionRecord]
else:
    ModelAdmin = admin.ModelAdmin


@admin.register(SessionRecord)
class SessionRecordAdmin(ModelAdmin):
    list_display = (
        "user_name",
        "signed_in_at",
        "last_rotated_at",
        "generation",
        "confirmed",
        "address",
        "expires_at",
        "ended_at",
        "end_reason",
    )
    list_filter = ("end_reason", "signed_in_at")
    search_fields = ("id", "user_name", "user_id")
    fields = (
        "id",
        "user_name",
        "user_id",
        "signed_in_at",
        "last_rotated_at",
        "generation",
        "confirmed",
        "confirmed_at",
        "expires_at",
        "address",
        "user_agent",
        "ended_at",
        "end_reason",
    )
    readonly_fields = fields
    actions = ("end_sessions",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: SessionRecord | None = None) -> bool:
        # Django's form saves every column as it was loaded, and would undo a rotation that came in between.
        return False

    def has_delete_permission(self, request: HttpRequest, obj: SessionRecord | None = None) -> bool:
        return False

    def has_end_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("accounts.end_sessionrecord")

    @admin.action(description="End selected sessions", permissions=["end"])
    def end_sessions(self, request: HttpRequest, queryset: QuerySet[SessionRecord]) -> None:
        ended = sum(end_session(record.id, EndReason.REVOKED) for record in queryset.only("id"))
        self.message_user(request, f"{ended} sessions ended.", messages.SUCCESS)
