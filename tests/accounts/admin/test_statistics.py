"""The statistics above the list of sessions."""

import re
from datetime import timedelta

from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import EndReason, EventKind, EventTotal
from tests.accounts.admin.pages import (
    LIST,
    add_event,
    add_record,
    rows,
    staff,
)
from tests.browsers import Browser


class TestTheStatistics:
    def test_it_counts_what_happened_in_the_last_day(self, rotated: Browser) -> None:
        now = timezone.now()
        for kind, times in {
            EventKind.ROTATED: 5,
            EventKind.ADOPTED: 3,
            EventKind.API_UNAVAILABLE: 2,
            EventKind.REFUSED: 1,
            EventKind.REUSED: 4,
        }.items():
            for _ in range(times):
                add_event(kind=kind, at=now)
        add_event(kind=EventKind.ROTATED, at=now - timedelta(hours=3))
        add_event(kind=EventKind.ADOPTED, at=now - timedelta(hours=25))
        add_record(ended_at=now, end_reason=EndReason.REFUSED)

        page = staff().get(LIST)

        figures = dict(re.findall(r"<dt>([^<]+)</dt><dd>([^<]+)</dd>", page.text))
        assert figures == {
            "Sessions active now": "1",
            "Sessions picked up from the record": "3",
            "Reuses of an old cookie": "4",
        }
        assert "6 rotated, 3 picked up from the record, 2 API unavailable, 1 refused by the API." in page.text
        table = rows(page, summary=True)
        assert table[0][1:] == ["5", "3", "2", "1"], "the present hour"
        assert table[3][1:] == ["1", "0", "0", "0"]
        assert len(table) == 24

    def test_events_with_rows_and_totals_of_routine_ones_add_up(self, rotated: Browser) -> None:
        now = timezone.now()
        hour = now.replace(minute=0, second=0, microsecond=0)
        add_event(kind=EventKind.ROTATED, at=now)
        add_event(kind=EventKind.UNSTORED, at=now)
        for ago, times in ((0, 1000), (2, 20), (24, 3)):
            EventTotal.objects.create(hour=hour - timedelta(hours=ago), kind=EventKind.ROTATED, count=times)
            EventTotal.objects.create(hour=hour - timedelta(hours=ago), kind=EventKind.CONFIRMED, count=times)
        browser = staff()
        browser.get(LIST)
        # A host that could not reach the database adds to an hour that is over.
        EventTotal.objects.filter(hour=hour - timedelta(hours=2)).update(count=21)

        page = browser.get(LIST)

        assert "24 hours: 1,023 rotated, 0 picked up" in page.text
        assert [row[1] for row in rows(page, summary=True)[:4]] == ["1002", "0", "21", "0"]

    def test_the_chart_has_a_name_a_description_and_no_inline_style(self, rotated: Browser) -> None:
        add_event()

        page = staff().get(LIST).text

        [chart] = re.findall(r'<svg class="rotations".*?</svg>', page, re.DOTALL)
        assert 'role="img" aria-labelledby="rotations-title rotations-text"' in chart
        assert '<title id="rotations-title">Rotations per hour, by outcome</title>' in chart
        assert chart.count('<rect class="rotated"') == 1
        assert "style=" not in chart

    def test_an_hour_that_is_over_is_counted_once(self, transactional_db: None) -> None:
        add_event(at=timezone.now() - timedelta(hours=5))
        browser = staff()
        assert "Since " in browser.get(LIST).text

        with CaptureQueriesContext(connection) as queries:
            page = browser.get(LIST)

        assert ": 1 rotated" in page.text
        assert sum("accounts_sessionevent" in query["sql"] for query in queries) <= 2, "the present one, and the last"

    def test_without_any_event_it_says_so(self, transactional_db: None) -> None:
        page = staff().get(LIST).text

        assert "No session was rotated in these hours." in page
        assert '<svg class="rotations"' not in page
