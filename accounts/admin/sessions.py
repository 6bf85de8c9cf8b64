"""Sessions in the admin. Staff view and end them, and never edit them. No token is shown. Fast with a million rows."""

from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from django.contrib import admin, messages
from django.contrib.admin.utils import flatten_fieldsets
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from accounts.admin.chart import OUTCOMES, count_outcomes, render_chart
from accounts.admin.ending import SessionEnding
from accounts.admin.search import find_sessions
from accounts.admin.statistics import MAX_COUNTED, count_active_sessions, last_hours
from accounts.browser.user_agent import describe_browser
from accounts.diagram.svg import render_traced_request
from accounts.history.timeline import has_unlisted_rotations, timeline_page
from accounts.history.traced_requests import KEPT_REQUESTS
from accounts.models import EventKind, SessionRecord, SessionRecordQuerySet, TracedRequest

if TYPE_CHECKING:
    SessionPaginator = Paginator[SessionRecord]
else:
    SessionPaginator = Paginator

#: The pages of the list end here. Search or filters find the other sessions.
MAX_LISTED = 10_000
#: Few enough for PostgreSQL to look each up by its id instead of scanning all sessions in the order of the list.
MAX_FOUND = 500
_ALLOWED_LOOKUPS = ("state", "end_reason__exact", "signed_in_at__gte", "signed_in_at__lt")


class CappedPaginator(SessionPaginator):
    """Counts at most MAX_LISTED rows: to count or to skip a million rows takes seconds."""

    @cached_property
    def is_capped(self) -> bool:
        return self._row_count > MAX_LISTED

    @cached_property
    def count(self) -> int:
        return min(self._row_count, MAX_LISTED)

    @cached_property
    def _row_count(self) -> int:
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
class SessionRecordAdmin(SessionEnding):
    # As many columns as 1280 pixels have room for.
    list_display = ("user_name", "state", "signed_in_at", "last_rotated_at", "place")
    list_filter = (StateFilter, "end_reason", "signed_in_at")
    # Only this order has an index: any other one would sort every row first.
    sortable_by = ("signed_in_at",)
    search_fields = ("user_id", "user_name_lower")
    search_help_text = "The beginning of a user's name or of their id at the API, or the whole id of a session."
    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = CappedPaginator
    fieldsets = (
        (None, {"fields": ("id", "user_name", "user_id", "state")}),
        ("Times", {"fields": ("signed_in_at", "last_rotated_at", "expires_at", "ended_at")}),
        ("Rotation", {"fields": ("generation", "confirmation", "confirmed", "confirmed_at")}),
        ("Sign-in", {"fields": ("address", "browser", "user_agent")}),
        ("Device", {"fields": ("device", "device_bound_at")}),
    )
    readonly_fields = flatten_fieldsets(fieldsets)

    class Media:
        css = {"all": ("accounts/diagram.css",)}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: SessionRecord | None = None) -> bool:
        # Django's form saves every column as it was loaded, and would undo a rotation in between.
        return False

    def has_delete_permission(self, request: HttpRequest, obj: SessionRecord | None = None) -> bool:
        return False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        # Django allows every column, and "?sealed__startswith=..." would reveal the sealed copy letter by letter.
        return lookup in _ALLOWED_LOOKUPS

    def get_queryset(self, request: HttpRequest) -> QuerySet[SessionRecord]:
        return super().get_queryset(request).defer("sealed", "retired", "recent_events")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[SessionRecord], search_term: str
    ) -> tuple[QuerySet[SessionRecord], bool]:
        text = search_term.strip()
        if not text:
            return queryset, False
        ids, has_more = find_sessions(text, limit=MAX_FOUND)
        if has_more:
            warning = f"More than {MAX_FOUND:,} sessions match, and the search stopped there. Search for a longer text."
            self.message_user(request, warning, messages.WARNING)
        return queryset.filter(pk__in=ids), False

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        # Few sessions are expired, and in another order than that of the index the database would scan all sessions.
        is_of_expired = request.GET.get(StateFilter.parameter_name) == "expired"
        return ("-expiry_check_at",) if is_of_expired else ("-signed_in_at",)

    @admin.display(description="state")
    def state(self, record: SessionRecord) -> str:
        return record.state

    @admin.display(description="confirmation")
    def confirmation(self, record: SessionRecord) -> str:
        return "confirmed" if record.is_confirmed else "waiting for the browser"

    @admin.display(description="browser", empty_value="-")
    def browser(self, record: SessionRecord) -> str | None:
        return describe_browser(record.user_agent) or None

    @admin.display(description="device")
    def device(self, record: SessionRecord) -> str:
        return f"bound to a device ({record.device_algorithm})" if record.device_key else "not bound to a device"

    @admin.display(description="browser and address")
    def place(self, record: SessionRecord) -> SafeString:
        bound = mark_safe("<br>bound to a device") if record.device_key else ""
        return format_html("{}<br>{}{}", self.browser(record) or "-", record.address or "-", bound)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        summary = {} if request.method == "POST" else _summary_context()
        return super().changelist_view(request, {**summary, **(extra_context or {})})

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        record: SessionRecord = kwargs["obj"]
        context.update(_timeline_context(record, request.GET.get("events", "")))
        context["can_end"] = self.has_end_permission(request) and record.ended_at is None
        context["can_end_all"] = self.has_end_permission(request) and bool(record.user_key)
        traced = TracedRequest.objects.of(record.id, KEPT_REQUESTS)
        context["traced_requests"] = [render_traced_request(row, heading="h3") for row in traced]
        return super().render_change_form(request, context, *args, **kwargs)


def _summary_context() -> dict[str, Any]:
    """The statistics above the list."""
    hours = last_hours()
    active, is_all = count_active_sessions()
    return {
        "active_sessions": f"{active:,}" if is_all else f"more than {MAX_COUNTED:,}",
        "picked_up": f"{sum(hour.counts.get(EventKind.ADOPTED, 0) for hour in hours):,}",
        "reuses": f"{sum(hour.counts.get(EventKind.REUSED, 0) for hour in hours):,}",
        "rotations": render_chart(hours),
        "outcomes": OUTCOMES,
        "rotations_by_hour": [(hour.at, count_outcomes(hour)) for hour in reversed(hours)],
    }


def _timeline_context(record: SessionRecord, page: str) -> dict[str, Any]:
    """A page of a session's events. "" is the first page."""
    number = int(page) if page.isdecimal() and len(page) < 6 else 1
    return {
        "timeline": timeline_page(record, max(number, 1)),
        "has_unlisted_rotations": has_unlisted_rotations(record),
    }
