"""The timeline of a session: rows of events, and the newest routine events, which its record keeps."""

import random
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from accounts.history import timeline
from accounts.history.background_writer import BackgroundWriter
from accounts.history.event_totals import EventCounter
from accounts.history.timeline import has_unlisted_rotations, kept_events, timeline_page
from accounts.models import EventKind, EventTotal, SessionEvent, SessionRecord, Trigger
from accounts.models.rotation_statements import KEPT_EVENTS
from accounts.rotation.confirm import check_record
from accounts.rotation.reuse_detection import Presented
from accounts.rotation.store import store_pair
from accounts.session.api_session import ApiSession
from tests.browsers import PATIENCE_SECONDS, Browser

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROTATIONS = 50


def rotate_and_confirm(session: ApiSession) -> ApiSession:
    """Rotate a session as a request does, and confirm it as the next one does."""
    minted = session.rotated(session.tokens, session.user)
    presented = Presented(session.generation, time.monotonic(), "192.0.2.7")
    store_pair(minted, session, presented, trigger=Trigger.EARLY, seconds=0.012, patience=5)
    presented = replace(presented, generation=minted.generation, arrived=time.monotonic())
    return check_record(minted, presented)


def test_many_rotations_leave_six_events_in_the_record_two_totals_and_no_row(
    event_writer: BackgroundWriter[SessionEvent], event_counter: EventCounter, signed_in: Browser
) -> None:
    event_writer.finish(PATIENCE_SECONDS)
    SessionEvent.objects.all().delete()
    session, began = signed_in.session(), datetime.now(UTC)
    for _ in range(ROTATIONS):
        session = rotate_and_confirm(session)

    assert session.confirmed
    record = signed_in.record()
    kept = kept_events(record)
    assert len(kept) == KEPT_EVENTS == 6
    assert [event.generation for event in kept] == [50, 50, 49, 49, 48, 48]
    assert [event.kind for event in kept] == [EventKind.CONFIRMED, EventKind.ROTATED] * 3
    assert [event.trigger for event in kept] == ["", "early"] * 3
    assert [event.duration_ms for event in kept] == [None, 12] * 3
    assert {event.address for event in kept} == {"192.0.2.7"}
    times = [event.at for event in kept]
    assert sorted(times, reverse=True) == times
    assert began < times[-1]
    assert has_unlisted_rotations(record)
    assert event_writer.finish(PATIENCE_SECONDS)
    assert not SessionEvent.objects.exists()
    assert event_counter.finish(PATIENCE_SECONDS)
    counted = EventTotal.objects.order_by("hour", "kind").values_list("kind", "count")
    # The hour may have changed meanwhile.
    assert {kind: sum(times for one, times in counted if one == kind) for kind, _ in counted} == {
        EventKind.CONFIRMED: ROTATIONS,
        EventKind.ROTATED: ROTATIONS,
    }


def test_an_event_in_the_record_is_the_same_as_in_a_row() -> None:
    fields = {"at": NOON + timedelta(microseconds=123_457), "request_id": "a-request", "address": "2001:db8::7"}
    for more in ({"generation": 7, "trigger": "401", "duration_ms": 0}, {"request_id": "", "address": None}):
        event = SessionEvent(session_id=uuid4(), kind=EventKind.ROTATED, **{**fields, **more})

        read = SessionEvent.from_line(event.session_id, event.to_line())

        for field in SessionEvent._meta.fields:
            assert getattr(read, field.name) == getattr(event, field.name), field


@pytest.mark.django_db
def test_pages_with_rows_and_kept_events_are_in_order_and_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    """However the events are mixed: hosts of the release before write rows of rotations meanwhile."""
    monkeypatch.setattr(timeline, "EVENTS_PER_PAGE", 5)
    session_id, dice = uuid4(), random.Random(1)
    SessionEvent.objects.bulk_create(
        SessionEvent(session_id=session_id, kind=EventKind.ADOPTED, at=NOON + timedelta(seconds=2 * n), generation=n)
        for n in range(17)
    )
    for _ in range(30):
        seconds = [1 + 2 * dice.randrange(-1, 17) for _ in range(dice.randrange(KEPT_EVENTS + 1))]
        kept = [SessionEvent(kind=EventKind.ROTATED, at=NOON + timedelta(seconds=at)) for at in sorted(seconds)]
        record = SessionRecord(id=session_id, recent_events=[event.to_line() for event in kept] or None)

        pages = [timeline_page(record, number) for number in range(1, 6)]

        times = [event.at for page in pages for event in page.events]
        assert times == sorted([*(NOON + timedelta(seconds=2 * n) for n in range(17)), *(e.at for e in kept)])[::-1]
        assert [len(page.events) for page in pages[:3]] == [5, 5, 5]
        last = next(page for page in pages if not page.older)
        assert last.events, seconds
        assert [page.newer for page in pages] == [0, 1, 2, 3, 4]


@pytest.mark.django_db
def test_the_rotations_of_the_release_before_are_listed_and_so_are_all_of_a_new_session() -> None:
    session_id = uuid4()
    kept = [SessionEvent(kind=EventKind.ROTATED, at=NOON, generation=2).to_line()]
    record = SessionRecord(id=session_id, generation=2, recent_events=kept)
    assert has_unlisted_rotations(record)
    SessionEvent.objects.create(session_id=session_id, kind=EventKind.ROTATED, at=NOON, generation=1)

    assert not has_unlisted_rotations(record)
    assert not has_unlisted_rotations(SessionRecord(id=uuid4()))
