"""How many statements a rotation costs, and why the way out looks at the record once more."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import RequestFactory

from accounts.browser.session import BrowserSession
from accounts.models import EndReason, SessionRecord
from accounts.models.rotation_statements import MAX_RETIRED
from tests.accounts.rotation.helpers import Execute, rotate_and_confirm
from tests.browsers import PATIENCE_SECONDS, Browser
from tests.demo_api.server import DemoApi, Fault, Gate


@contextmanager
def noted_statements() -> Iterator[list[str]]:
    """The first word of each statement, also of those on a reserved connection."""
    statements = []

    def note(execute: Execute, sql: str, params: Any, many: bool, context: Any) -> Any:
        statements.append(sql.partition(" ")[0])
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        yield statements


def test_a_rotation_costs_three_statements_its_confirmation_two_and_a_good_token_none(
    signed_in: Browser, api: DemoApi
) -> None:
    # The first statement with JSON makes Django find out once what the database can do.
    rotate_and_confirm(signed_in, api)
    with noted_statements() as good:
        signed_in.open_page()
    api.expire_access_tokens()
    with noted_statements() as rotating:
        signed_in.open_page()
    with noted_statements() as confirming:
        signed_in.open_page()

    assert [good, rotating, confirming] == [[], ["UPDATE", "UPDATE", "SELECT"], ["UPDATE", "SELECT"]]
    assert signed_in.session().confirmed


def test_the_list_of_retired_generations_is_read_and_shortened_now_and_then(signed_in: Browser, api: DemoApi) -> None:
    for _ in range(MAX_RETIRED):
        rotate_and_confirm(signed_in, api)

    with noted_statements() as statements:
        rotate_and_confirm(signed_in, api)

    assert statements[3:] == ["UPDATE", "SELECT", "UPDATE", "SELECT"]
    assert signed_in.record().confirmed == MAX_RETIRED + 1


@pytest.mark.parametrize("confirms", [False, True], ids=["after its rotation", "after its confirmation"])
def test_the_response_to_a_page_that_waited_does_not_undo_a_sign_out(
    signed_in: Browser, api: DemoApi, confirms: bool
) -> None:
    api.expire_access_tokens()
    if confirms:
        signed_in.open_page()
    with Gate() as gate, ThreadPoolExecutor() as threads:
        if not confirms:
            api.fail("GET", "/protected-route", Fault.answer(401, {"message": "expired"}))
        api.fail("GET", "/protected-route", Fault.hold_before(gate))
        page = threads.submit(signed_in.copy().open_page)
        assert gate.reached.wait(PATIENCE_SECONDS)
        SessionRecord.objects.end(signed_in.session().id, EndReason.SIGNED_OUT)
        gate.release()

    assert page.result().status_code == 200
    assert "session" not in page.result().cookies, "the response undid the sign-out"


def test_a_confirmation_that_was_overtaken_brings_the_newest_session(signed_in: Browser, api: DemoApi) -> None:
    api.expire_access_tokens()
    signed_in.open_page()
    api.expire_access_tokens()
    request = RequestFactory().get("/")
    request.COOKIES = signed_in.take()
    slow = BrowserSession(request)
    assert slow.user is not None

    # Meanwhile another request of the browser rotates the session, and the next one confirms that.
    signed_in.open_page()
    signed_in.open_page()

    written = slow.pop_session_to_write()
    assert written is not None
    assert written.generation == signed_in.record().confirmed == 2, "an older cookie would end the session later"


def test_a_database_that_can_only_be_read_still_tells_that_a_session_has_ended(
    signed_in: Browser, api: DemoApi
) -> None:
    api.expire_access_tokens()
    signed_in.open_page()
    assert not signed_in.session().confirmed
    SessionRecord.objects.end(signed_in.session().id, EndReason.REVOKED)

    def refuse_updates(execute: Execute, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith("UPDATE"):
            raise OperationalError("attempt to write a readonly database")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(refuse_updates):
        assert not signed_in.get("/accounts/session/").json()["authenticated"]
