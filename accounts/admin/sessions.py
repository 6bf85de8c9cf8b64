"""Sessions in the admin: to look at and to end, never to edit, and never a token. Quick on a million of them."""

from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone

from accounts.admin.chart import OUTCOMES, count_outcomes, draw_rotations
from accounts.admin.search import find_sessions
from accounts.admin.statistics import MAX_COUNTED, count_active_sessions, last_hours
from accounts.admin.user_agent import describe_browser
from accounts.diagram.svg import draw_request
from accounts.history.traced_requests import KEPT_REQUESTS
from accounts.models import EndReason, EventKind, SessionEvent, SessionRecord, SessionRecordQuerySet, TracedRequest
from accounts.rotation.ending import end_session

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[SessionRecord]
    SessionPaginator = Paginator[SessionRecord]
else:
    ModelAdmin, SessionPaginator = admin.ModelAdmin, Paginator

#: How far one can turn pages; what lies behind is to be searched or filtered for.
MAX_LISTED = 10_000
#: Few enough for PostgreSQL to look each of them up, and not to go through all sessions in the order of the list.
MAX_FOUND = 500
#: Each costs a statement, and a field of the form that asks whether to go on (DATA_UPLOAD_MAX_NUMBER_FIELDS).
MAX_ENDED_AT_ONCE = 500
EVENTS_A_PAGE = 200
_FILTERED_BY = ("state", "end_reason__exact", "signed_in_at__gte", "signed_in_at__lt")


class CappedPaginator(SessionPaginator):
    """Counts no further than anybody turns pages: a million rows take seconds to be counted, or to be skipped."""

    @cached_property
    def is_capped(self) -> bool:
        return self._counted > MAX_LISTED

    @cached_property
    def count(self) -> int:
        return min(self._counted, MAX_LISTED)

    @cached_property
    def _counted(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by()[: MAX_LISTED + 1].count())


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("active", "Active"), ("ended", "Ended"), ("expired", "Expired, not ended yet")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[SessionRecord]) -> QuerySet[SessionRecord]:
        records = cast(SessionRecordQuerySet, queryset)
        chosen = {"active": records.active, "ended": records.ended, "expired": records.expired}.get(self.value() or "")
        return chosen() if chosen else queryset


@admin.register(SessionRecord)
class SessionRecordAdmin(ModelAdmin):
    list_display = (
        *("user_name", "state", "signed_in", "last_rotated", "rotations"),
        *("hand_over", "address", "browser", "expires"),
    )
    list_filter = (StateFilter, "end_reason", "signed_in_at")
    # Any other order would have to look at every row first.
    sortable_by = ("signed_in",)
    search_fields = ("user_id", "user_name_lower")
    search_help_text = (
        "The beginning of a user's name, or of the id that the API gave them; or the whole id of a session."
    )
    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = CappedPaginator
    fieldsets = (
        (None, {"fields": ("id", "user_name", "user_id", "state")}),
        ("Times", {"fields": ("signed_in_at", "last_rotated_at", "expires_at", "ended_at")}),
        ("Hand-over", {"fields": ("generation", "hand_over", "confirmed", "confirmed_at")}),
        ("Where it was signed in", {"fields": ("address", "browser", "user_agent")}),
    )
    readonly_fields = (
        *("id", "user_name", "user_id", "state", "signed_in_at", "last_rotated_at", "expires_at", "ended_at"),
        *("generation", "hand_over", "confirmed", "confirmed_at", "address", "browser", "user_agent"),
    )
    actions = ("end_sessions",)

    class Media:
        css = {"all": ("accounts/admin.css", "accounts/diagram.css")}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: SessionRecord | None = None) -> bool:
        # Django's form saves every column as it was loaded, and would undo a rotation that came in between.
        return False

    def has_delete_permission(self, request: HttpRequest, obj: SessionRecord | None = None) -> bool:
        return False

    def has_end_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("accounts.end_sessionrecord")

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        # Django's allows every column, and "?sealed__startswith=..." would tell the sealed copy letter by letter.
        return lookup in _FILTERED_BY

    def get_queryset(self, request: HttpRequest) -> QuerySet[SessionRecord]:
        return super().get_queryset(request).defer("sealed", "retired")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[SessionRecord], search_term: str
    ) -> tuple[QuerySet[SessionRecord], bool]:
        words = search_term.strip()
        if not words:
            return queryset, False
        ids, is_cut = find_sessions(words, limit=MAX_FOUND)
        if is_cut:
            text = f"More than {MAX_FOUND:,} sessions are like that, and only so many were looked at. Type more of it."
            self.message_user(request, text, messages.WARNING)
        return queryset.filter(pk__in=ids), False

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        # Those that have expired are few, and may be any: in the order of sign-in, all would have to be looked at.
        return ("-expires_at",) if request.GET.get(StateFilter.parameter_name) == "expired" else ("-signed_in_at",)

    @admin.display(description="state")
    def state(self, record: SessionRecord) -> str:
        return record.state

    @admin.display(description="signed in", ordering="signed_in_at")
    def signed_in(self, record: SessionRecord) -> str:
        return _minute(record.signed_in_at)

    @admin.display(description="last rotated", empty_value="-")
    def last_rotated(self, record: SessionRecord) -> str | None:
        return _minute(record.last_rotated_at) if record.last_rotated_at else None

    @admin.display(description="expires", empty_value="-")
    def expires(self, record: SessionRecord) -> str | None:
        return _minute(record.expires_at) if record.expires_at else None

    @admin.display(description="generation")
    def rotations(self, record: SessionRecord) -> int:
        return record.generation

    @admin.display(description="hand-over")
    def hand_over(self, record: SessionRecord) -> str:
        return "confirmed" if record.is_confirmed else "waiting for the browser"

    @admin.display(description="browser", empty_value="-")
    def browser(self, record: SessionRecord) -> str | None:
        return describe_browser(record.user_agent) or None

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        summary = {} if request.method == "POST" else _summary()
        return super().changelist_view(request, {**summary, **(extra_context or {})})

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        record: SessionRecord = kwargs["obj"]
        context.update(_timeline(record.id, request.GET.get("events", "")))
        traced = TracedRequest.objects.of(record.id, KEPT_REQUESTS)
        context["drawn"] = [draw_request(row, heading="h3") for row in traced]
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.action(description="End selected sessions", permissions=["end"])
    def end_sessions(self, request: HttpRequest, queryset: QuerySet[SessionRecord]) -> HttpResponse | None:
        """Ask first, with a list of what would end; then end it."""
        living = list(queryset.filter(ended_at=None)[: MAX_ENDED_AT_ONCE + 1])
        if len(living) > MAX_ENDED_AT_ONCE:
            text = f"These are more than {MAX_ENDED_AT_ONCE} sessions. Search or filter for fewer, and none has ended."
            self.message_user(request, text, messages.ERROR)
        elif not living:
            self.message_user(request, "0 sessions ended: those that were selected are over.", messages.WARNING)
        elif "confirmed" not in request.POST:
            return self._ask_whether_to_end(request, living)
        else:
            ended = [record for record in living if end_session(record.id, EndReason.REVOKED, user_id=record.user_id)]
            LogEntry.objects.log_actions(cast(int, request.user.pk), ended, CHANGE, "Ended the session.")
            many = "1 session" if len(ended) == 1 else f"{len(ended)} sessions"
            self.message_user(request, f"{many} ended.", messages.SUCCESS)
        return None

    def _ask_whether_to_end(self, request: HttpRequest, living: list[SessionRecord]) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": "End sessions",
            "opts": self.opts,
            "media": self.media,
            "sessions": [(record, describe_browser(record.user_agent)) for record in living],
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
            "back": request.get_full_path(),
        }
        return TemplateResponse(request, "admin/accounts/sessionrecord/end_sessions.html", context)


def _minute(moment: datetime) -> str:
    """As short as it sorts by sight."""
    return f"{timezone.localtime(moment):%Y-%m-%d %H:%M}"


def _summary() -> dict[str, Any]:
    """What stands above the list."""
    hours = last_hours()
    active, is_all = count_active_sessions()
    return {
        "active_sessions": f"{active:,}" if is_all else f"more than {MAX_COUNTED:,}",
        "adoptions": f"{sum(hour.counts.get(EventKind.ADOPTED, 0) for hour in hours):,}",
        "reuses": f"{sum(hour.counts.get(EventKind.REUSED, 0) for hour in hours):,}",
        "rotations": draw_rotations(hours),
        "outcomes": OUTCOMES,
        "rotations_by_hour": [(hour.at, count_outcomes(hour)) for hour in reversed(hours)],
    }


def _timeline(session_id: UUID, page: str) -> dict[str, Any]:
    """A page of a session's events, the newest first, and the numbers of its neighbours; "" is the first page."""
    number = int(page) if page.isdecimal() and len(page) < 6 else 1
    start = (max(number, 1) - 1) * EVENTS_A_PAGE
    events = SessionEvent.objects.filter(session_id=session_id).order_by("-at", "-pk")
    found = list(events[start : start + EVENTS_A_PAGE + 1])
    return {
        "timeline": found[:EVENTS_A_PAGE],
        "newer_events": number - 1,
        "older_events": number + 1 if len(found) > EVENTS_A_PAGE else 0,
    }
