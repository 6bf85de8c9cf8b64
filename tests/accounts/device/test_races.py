"""Responses that get lost or overtake each other, copies from before the binding, and hosts of an earlier release."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from pytest_django import Settings

from accounts.device.proof import new_challenge
from accounts.models import AttemptCount, SessionRecord
from accounts.session.device_key import device_key, text_of_jwk
from tests.accounts.device.conftest import signed_in_over_https
from tests.accounts.session_updates import post, session_update
from tests.browsers import Browser, cookies_set, records_away
from tests.demo_api.server import DemoApi
from tests.device_browser import Device, DeviceBrowser

SESSION = "__Host-session"


def let_grace_period_pass(browser: Browser, seconds: float = 31) -> None:
    """Move the binding into the past."""
    record = browser.record()
    assert record.device_host_time is not None
    boot, monotonic, time_of_day = record.device_host_time
    SessionRecord.objects.filter(pk=record.pk).update(
        device_bound_at=F("device_bound_at") - timedelta(seconds=seconds),
        device_host_time=[boot, monotonic - seconds, time_of_day - seconds],
    )
    AttemptCount.objects.all().delete()


def forget_key(browser: Browser) -> None:
    """A host of the release before writes the cookie: it drops the field that it does not know."""
    browser.client.cookies[SESSION] = replace(browser.session(), device="").seal_for_cookie()


def early_copy() -> tuple[DeviceBrowser, Browser]:
    """A browser whose session is bound, and a copy of its cookies from before that."""
    browser = signed_in_over_https()
    copy = Browser({SESSION: replace(browser.session(), device="", confirmed=True).seal_for_cookie()})
    assert browser.open_page().status_code == 200
    return browser, copy


class TestCopiesFromBeforeTheBinding:
    def test_a_rotation_after_the_grace_period_is_reuse(self, site: DemoApi) -> None:
        browser, copy = early_copy()
        let_grace_period_pass(browser)
        assert copy.open_page().status_code == 200  # by its access token, without a query

        site.expire_access_tokens()
        response = copy.open_page()

        assert response.status_code == 302
        assert browser.record().end_reason == "reused"

    def test_so_is_each_request_if_each_is_checked(self, site: DemoApi, settings: Settings) -> None:
        browser, copy = early_copy()
        settings.API_SESSION_CHECK = "every-request"
        assert copy.open_page().status_code == 200
        assert browser.open_page().status_code == 200
        let_grace_period_pass(browser)

        assert copy.open_page().status_code == 302
        assert browser.record().end_reason == "reused"

    def test_a_straggler_within_the_grace_period_rotates_and_gains_nothing(self, site: DemoApi) -> None:
        browser, copy = early_copy()
        site.expire_access_tokens()

        response = copy.open_page()
        assert response.status_code == 200
        assert not cookies_set(response)
        assert browser.open_page().status_code == 200
        assert (browser.session().generation, bool(browser.session().device)) == (1, True)
        assert browser.open_page().status_code == 200

        let_grace_period_pass(browser)
        assert browser.is_signed_in()
        assert browser.record().device_key

    def test_a_key_of_the_thiefs_own_does_not_help(self, site: DemoApi) -> None:
        browser, copy = early_copy()
        thief = DeviceBrowser(copy.take())
        let_grace_period_pass(browser)
        site.expire_access_tokens()

        assert Browser.get(thief, "/protected/", secure=True).status_code == 302
        assert browser.record().end_reason == "reused"

    def test_a_thief_who_binds_first_is_found_out(self, site: DemoApi) -> None:
        browser = signed_in_over_https(registers=False)
        thief = DeviceBrowser(browser.take())
        thief.put(browser.take())
        site.expire_access_tokens()
        thief.open_page()
        assert thief.open_page().status_code == 200
        assert thief.record().device_key
        let_grace_period_pass(thief)

        site.expire_access_tokens()
        assert browser.open_page().status_code == 302
        assert thief.record().end_reason == "reused"


class TestLostAndLateResponses:
    @pytest.mark.parametrize("rotates", [False, True], ids=["then a page", "then a rotation"])
    def test_the_session_cookie_of_the_registration_gets_lost(self, site: DemoApi, rotates: bool) -> None:
        browser = signed_in_over_https(registers=False)
        before = browser.take()
        browser.registers = True
        site.expire_access_tokens()
        browser.open_page()
        device = {name: value for name, value in browser.take().items() if "-device-" in name}
        assert device
        browser.put(before | device)
        if rotates:
            site.expire_access_tokens()

        response = browser.open_page()
        assert cookies_set(response)
        assert browser.session().device
        assert not browser.record().device_key  # it has not been seen with the key yet
        assert browser.open_page().status_code == 200
        assert browser.record().device_key

    def test_a_late_response_without_the_key_is_taken_back(self, bound: DeviceBrowser, site: DemoApi) -> None:
        site.expire_access_tokens()
        bound.open_page()
        forget_key(bound)
        let_grace_period_pass(bound)

        assert bound.open_page().status_code == 200
        assert bound.session().device
        site.expire_access_tokens()
        assert bound.open_page().status_code == 200
        assert bound.is_signed_in()

    def test_without_the_key_in_a_cookie_the_record_decides(self, bound: DeviceBrowser, site: DemoApi) -> None:
        """The browser has slept since the late response, so its device cookie has expired."""
        forget_key(bound)
        bound.expire_device_cookie()
        let_grace_period_pass(bound)
        stranger = DeviceBrowser(bound.take(), device=Device())
        config = dict(bound.config or {})
        key = text_of_jwk(stranger.device.jwk)
        stranger.config = config | {"session_identifier": f"{bound.session().id}.{key}"}
        assert stranger.refresh().json()["continue"] is False
        with records_away():
            assert bound.refresh().status_code == 503

        site.expire_access_tokens()
        assert bound.open_page().status_code == 200
        assert bound.open_page().status_code == 200
        assert bound.session().device

    def test_without_a_binding_in_the_record_a_refresh_ends_the_browsers_binding(self, site: DemoApi) -> None:
        browser = signed_in_over_https()
        forget_key(browser)
        browser.expire_device_cookie()
        assert browser.refresh().json()["continue"] is False

    def test_of_two_registrations_at_once_the_first_counts(self, site: DemoApi) -> None:
        browser = signed_in_over_https(registers=False)
        other = DeviceBrowser(browser.take())
        assert register(browser).status_code == 200

        assert register(DeviceBrowser(other.take(), device=browser.device)).status_code == 200
        response = register(other)
        assert response.status_code == 400
        assert not response.cookies
        assert browser.is_signed_in()
        assert browser.is_signed_in()
        assert browser.record().device_key == device_key(text_of_jwk(browser.device.jwk))

    def test_no_second_key_beside_a_device_cookie(self, bound: DeviceBrowser) -> None:
        """A copy of all cookies, where a late response has dropped the key from the session cookie."""
        forget_key(bound)
        AttemptCount.objects.all().delete()
        thief = DeviceBrowser(bound.take(), device=Device())
        assert register(thief).status_code == 400
        assert bound.is_signed_in()

    def test_a_session_update_of_a_stream_that_began_before(self, site: DemoApi) -> None:
        browser = signed_in_over_https(registers=False)
        update = session_update(browser, site)
        browser.registers = True
        register(browser)
        assert post(browser, update).status_code == 204
        assert (browser.session().generation, bool(browser.session().device)) == (1, True)
        assert browser.is_signed_in()

    def test_the_database_is_away_while_it_registers(self, site: DemoApi) -> None:
        browser = signed_in_over_https(registers=False)
        with records_away():
            response = register(browser)
        assert response.status_code == 400
        assert not response.cookies
        browser.registers = True
        site.expire_access_tokens()
        assert browser.is_signed_in()
        assert browser.is_signed_in()
        assert browser.record().device_key


class TestHostsOfAnEarlierRelease:
    @pytest.mark.parametrize("confirmed", [True, False])
    def test_a_cookie_that_one_has_rotated_is_no_reuse(
        self, bound: DeviceBrowser, site: DemoApi, confirmed: bool
    ) -> None:
        session = bound.session()
        site.expire_access_tokens()
        bound.open_page()
        # What an earlier release stores: everything but the key and its generation.
        newest = replace(bound.session(), device="", confirmed=confirmed)
        records = SessionRecord.objects.filter(pk=session.id)
        records.update(device_generation=0, sealed=newest.seal_for_record())
        bound.client.cookies[SESSION] = newest.seal_for_cookie()
        bound.expire_device_cookie()
        bound.config = None
        let_grace_period_pass(bound)

        site.expire_access_tokens()
        assert bound.open_page().status_code == 200
        assert bound.open_page().status_code == 200
        assert bound.open_page().status_code == 200
        assert bound.record().device_key
        assert bound.session().device
        assert bound.session().generation == 2

    def test_an_earlier_release_opens_the_cookie(self, bound: DeviceBrowser) -> None:
        fields: list[Any] = json.loads(bound.session()._to_bytes())
        assert len(fields) == 7
        assert len(fields[2]) == 5


def register(browser: DeviceBrowser) -> Any:
    """Register with a challenge of this session, as after a sign-in whose response arrives only now."""
    return browser.register("/accounts/device/register/", new_challenge(browser.session().id))
