"""A dialect can allow a refresh before the expiry. If that fails, nothing is lost."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from accounts.dialects.token_pair import TokenPairDialect
from accounts.models import SessionRecord
from tests.browsers import PATIENCE_SECONDS, Browser
from tests.demo_api.server import DemoApi, Fault, Gate


class EarlyDialect(TokenPairDialect):
    """The demo API accepts a refresh when it counts the token as expired. These tests make it do so early."""

    refreshes_early = True


@pytest.fixture
def early(signed_in: Browser, settings: Settings) -> Browser:
    """A browser whose access token is valid for another 20 of its 60 seconds: within API_REFRESH_AHEAD."""
    settings.API_DIALECT = "tests.accounts.rotation.test_early_refresh.EarlyDialect"
    signed_in.age(40)
    return signed_in


def paths(api: DemoApi) -> list[str]:
    return [call.path for call in api.calls]


def test_the_token_is_refreshed_ahead_of_its_expiry(early: Browser, api: DemoApi) -> None:
    api.expire_access_tokens()
    api.forget_calls()

    assert early.is_signed_in()

    assert paths(api) == ["/auth/refresh", "/protected-route"]
    assert early.session().generation == 1


def test_a_fresh_token_is_left_alone(early: Browser, api: DemoApi) -> None:
    early.sign_in()
    api.forget_calls()

    assert early.is_signed_in()

    assert paths(api) == ["/protected-route"]


def test_a_refresh_ahead_that_fails_does_not_matter(early: Browser, api: DemoApi) -> None:
    api.fail("POST", "/auth/refresh", Fault.answer(503))
    api.forget_calls()

    assert early.is_signed_in()

    assert paths(api) == ["/auth/refresh", "/protected-route"]
    assert early.session().generation == 0


def test_no_request_waits_for_another_while_the_token_is_valid(early: Browser, api: DemoApi) -> None:
    session = early.session()
    assert SessionRecord.objects.claim(session.id, generation=0, owner="another", lease_seconds=60)
    api.forget_calls()

    with CaptureQueriesContext(connection) as queries:
        assert early.is_signed_in()

    assert paths(api) == ["/protected-route"]
    assert sum(query["sql"].startswith("UPDATE") for query in queries) == 1, "it claimed only once"


def test_no_request_waits_for_one_in_the_same_process(early: Browser, api: DemoApi) -> None:
    other_tab = early.copy()
    with ThreadPoolExecutor() as threads, Gate() as gate:
        api.fail("POST", "/auth/refresh", Fault.hold_before(gate))
        refreshing = threads.submit(other_tab.open_page)
        assert gate.reached.wait(PATIENCE_SECONDS)

        assert early.is_signed_in()

        assert early.record().lease_owner, "the other one is still rotating"
        gate.release()
        assert refreshing.result().status_code == 200


@pytest.mark.parametrize(("age", "refreshed"), [(25, False), (35, True)], ids=["first half", "second half"])
def test_a_token_with_a_short_lifetime_is_replaced_only_in_its_second_half(
    early: Browser, api: DemoApi, age: float, refreshed: bool
) -> None:
    early.sign_in()
    early.age(age)
    api.expire_access_tokens()
    api.forget_calls()

    stream = early.get("/protected/stream/?rows=100&delay=1")
    stream.close()

    assert stream.status_code == 200
    assert ("/auth/refresh" in paths(api)) is refreshed
