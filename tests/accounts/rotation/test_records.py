"""Records that are behind their cookie, damaged, or in an open transaction."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.http import StreamingHttpResponse

from accounts.models import SessionRecord
from tests.accounts.rotation.helpers import move_back, rotate_and_confirm
from tests.browsers import PATIENCE_SECONDS, Browser, wait_until
from tests.demo_api.server import DemoApi, Fault, Gate


class TestCatchingUp:
    def test_a_rotation_that_could_not_be_stored_is_stored_by_the_next_request_that_holds_it(
        self, signed_in: Browser, api: DemoApi
    ) -> None:
        page = signed_in.get("/protected/stream/?rows=3&delay=0")
        assert isinstance(page, StreamingHttpResponse)
        pieces = iter(page)
        assert next(pieces)
        before = SessionRecord.objects.values().get()
        api.expire_access_tokens()
        assert next(pieces)
        # As if the database had failed only during the UPDATE.
        SessionRecord.objects.filter(pk=before["id"]).update(**before)
        assert b"".join(pieces)

        assert signed_in.is_signed_in(), "with generation 0: the session update of the stream was never posted"

        assert api.reuses == 0

    def test_a_record_that_catches_up_knows_how_long_the_session_lives_now(
        self, signed_in: Browser, api: DemoApi
    ) -> None:
        before = SessionRecord.objects.values().get()
        api.expire_access_tokens()
        signed_in.open_page()
        SessionRecord.objects.filter(pk=before["id"]).update(**{**before, "expires_at": before["signed_in_at"]})

        signed_in.open_page()

        assert signed_in.record().expires_at == signed_in.session().expiry()

    def test_catching_up_does_not_touch_the_lease(self, signed_in: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        signed_in.open_page()
        session = signed_in.session()
        SessionRecord.objects.update(generation=0)
        assert SessionRecord.objects.claim(session.id, generation=1, owner="a-request", lease_seconds=60)

        assert SessionRecord.objects.catch_up(session)

        assert not SessionRecord.objects.claim(session.id, generation=1, owner="another", lease_seconds=60)

    def test_a_confirmation_that_could_be_rolled_back_is_not_made(self, signed_in: Browser, api: DemoApi) -> None:
        thief = signed_in.copy()
        api.expire_access_tokens()
        signed_in.open_page()
        connection.settings_dict["ATOMIC_REQUESTS"] = True
        try:
            signed_in.get("/accounts/session/")
        finally:
            connection.settings_dict["ATOMIC_REQUESTS"] = False

        assert signed_in.record().confirmed == 0
        assert not signed_in.session().confirmed
        signed_in.open_page()
        move_back(signed_in, 31)
        assert not thief.is_signed_in()


class TestDamagedRecords:
    def test_a_cookie_newer_than_the_record_counts(self, signed_in: Browser, api: DemoApi) -> None:
        """After a restored backup the browser holds the newest pair, and the record catches up."""
        backup = SessionRecord.objects.values().get()
        rotate_and_confirm(signed_in, api)
        rotate_and_confirm(signed_in, api)
        SessionRecord.objects.filter(pk=backup["id"]).update(**backup)
        api.expire_access_tokens()

        assert signed_in.is_signed_in()

        assert signed_in.record().generation == signed_in.session().generation == 3
        assert api.reuses == 0

    def test_an_unconfirmed_cookie_newer_than_the_record_is_stored_when_it_is_confirmed(
        self, signed_in: Browser, api: DemoApi
    ) -> None:
        backup = SessionRecord.objects.values().get()
        before = signed_in.take()
        api.expire_access_tokens()
        signed_in.open_page()
        SessionRecord.objects.filter(pk=backup["id"]).update(**backup)

        signed_in.open_page()

        assert signed_in.record().generation == signed_in.record().confirmed == 1
        straggler = Browser(before)
        api.expire_access_tokens()
        assert straggler.is_signed_in(), "within the leeway, from the sealed copy that the confirmation stored"

    def test_a_sealed_copy_that_no_key_opens_does_not_end_the_session(self, signed_in: Browser, api: DemoApi) -> None:
        before = signed_in.take()
        api.expire_access_tokens()
        signed_in.open_page()
        sealed = signed_in.record().sealed
        SessionRecord.objects.update(sealed="sealed-by-another-host")
        browser = Browser(before)

        assert browser.open_page().status_code == 503

        SessionRecord.objects.update(sealed=sealed)
        assert browser.is_signed_in()

    def test_the_sealed_copy_opens_only_with_its_own_cookie(self, signed_in: Browser, api: DemoApi) -> None:
        other = Browser()
        other.sign_in("grace@example.com")
        for browser in (signed_in, other):
            api.expire_access_tokens()
            browser.open_page()
        stolen = signed_in.record().sealed
        SessionRecord.objects.filter(pk=other.session().id).update(sealed=stolen, generation=5)
        api.expire_access_tokens()

        assert other.open_page().status_code == 503


def test_a_store_that_was_carried_out_although_it_failed_loses_nothing(
    signed_in: Browser, api: DemoApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database hung, or its response to the UPDATE was lost."""
    manager: Any = type(SessionRecord.objects)
    store, stored = manager.store, []

    def store_and_fail_once(*arguments: Any) -> bool:
        stored.append(store(*arguments))
        if len(stored) == 1:
            raise OperationalError
        return bool(stored[-1])

    monkeypatch.setattr(manager, "store", store_and_fail_once)
    api.expire_access_tokens()

    assert signed_in.open_page().status_code == 200

    assert stored == [True, False]
    assert signed_in.session().generation == 1
    assert signed_in.is_signed_in()
    assert api.reuses == 0


def test_a_new_pair_is_stored_although_all_pooled_connections_are_in_use(signed_in: Browser, api: DemoApi) -> None:
    """On PostgreSQL. Without a pool nothing is in use."""

    def open_page() -> int:
        try:
            return signed_in.open_page().status_code
        finally:
            connection.close()

    api.expire_access_tokens()
    with Gate() as gate, ThreadPoolExecutor() as threads, ExitStack() as in_use:
        api.fail(*api.refresh_call, Fault.hold_after(gate))
        page = threads.submit(open_page)
        assert gate.reached.wait(PATIENCE_SECONDS)
        connection.ensure_connection()
        if pool := getattr(connection, "pool", None):
            for _ in range(pool.max_size - 1):
                in_use.enter_context(pool.connection())
        gate.release()
        wait_until(lambda: signed_in.record().generation == 1 or page.done())

        assert signed_in.record().generation == 1
        in_use.close()
        assert page.result() == 200
