"""Sign-in in a browser that already has a session: the new session replaces the old one."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.dispatch import Signal
from django.http import HttpResponse

from accounts.models import EndReason, SessionRecord
from accounts.signals import session_ended, session_started
from tests.accounts.sign_in.helpers import sent_to, signed_in_email
from tests.browsers import GRACE, Browser, cookies_set, records_away
from tests.demo_api.server import DemoApi, Fault, Gate

PAGE = "/protected/"


class TestSignedInAlready:
    def test_a_visitor_is_sent_on(self, signed_in: Browser) -> None:
        response = signed_in.get("/accounts/login/", data={"next": "/protected/?rows=3"})

        assert (response.status_code, response["Location"]) == (302, "/protected/?rows=3")

    @pytest.mark.parametrize(
        "ended_by", ["sign-out elsewhere", "sign-in elsewhere", "staff", "the API", "a lost record"]
    )
    def test_one_whose_session_was_ended_elsewhere_is_not_sent_to_and_fro(
        self, signed_in: Browser, api: DemoApi, ended_by: str
    ) -> None:
        elsewhere = signed_in.copy()
        endings: dict[str, Callable[[], object]] = {
            "sign-out elsewhere": elsewhere.sign_out,
            "sign-in elsewhere": elsewhere.sign_in,
            "staff": lambda: SessionRecord.objects.end(signed_in.session().id, EndReason.REVOKED),
            "the API": api.revoke_all,
            "a lost record": lambda: SessionRecord.objects.all().delete(),
        }
        endings[ended_by]()
        api.expire_access_tokens()

        to_sign_in = signed_in.open_page()
        sign_in_page = signed_in.get(to_sign_in["Location"])

        assert to_sign_in.status_code == 302
        assert to_sign_in["Location"] == "/accounts/login/?next=%2Fprotected%2F&ended=1"
        assert sign_in_page.status_code == 200
        assert "Your session has ended." in sign_in_page.text
        assert signed_in.sign_in(next=PAGE).status_code == 302
        assert signed_in.is_signed_in()

    def test_without_the_records_a_visitor_is_not_sent_to_and_fro_either(self, signed_in: Browser) -> None:
        with records_away():
            assert signed_in.get("/accounts/login/")["Location"] == PAGE
            assert signed_in.open_page().status_code == 200

    @pytest.mark.parametrize("value", ["", "junk", "2.junk", "A" * 500])
    def test_a_cookie_that_no_key_opens_is_nobodys_and_stays(self, browser: Browser, value: str) -> None:
        browser.put({"session": value})

        to_sign_in = browser.open_page()
        page = browser.get(to_sign_in["Location"])

        assert to_sign_in["Location"] == "/accounts/login/?next=%2Fprotected%2F"
        assert page.status_code == 200
        assert not cookies_set(to_sign_in)
        assert not cookies_set(page)


class TestOverAnOldSession:
    def test_every_sign_in_has_an_id_and_a_secret_of_its_own(self, signed_in: Browser) -> None:
        first = signed_in.session()

        signed_in.sign_in()

        second = signed_in.session()
        assert second.id != first.id
        assert second.secret != first.secret

    def test_it_ends_the_old_one_here_and_at_the_api(self, signed_in: Browser, api: DemoApi) -> None:
        old = signed_in.session()
        stale = signed_in.copy()
        api.forget_calls()

        signed_in.sign_in(GRACE)

        record = SessionRecord.objects.get(pk=old.id)
        assert record.end_reason == EndReason.REPLACED
        assert sent_to(api, "/auth/logout") == [{"refreshToken": old.tokens.refresh}]
        assert not stale.is_signed_in()
        assert signed_in_email(signed_in) == GRACE

    def test_it_revokes_the_newest_pair_of_the_old_one(self, signed_in: Browser, api: DemoApi) -> None:
        other_tab = signed_in.copy()
        api.expire_access_tokens()
        assert other_tab.open_page().status_code == 200
        api.forget_calls()

        signed_in.sign_in()

        assert sent_to(api, "/auth/logout") == [{"refreshToken": other_tab.session().tokens.refresh}]

    def test_it_works_while_the_api_cannot_end_the_old_one(self, signed_in: Browser, api: DemoApi) -> None:
        old = signed_in.session()
        api.fail("POST", "/auth/logout", Fault.reset())

        assert signed_in.sign_in(GRACE).status_code == 302

        assert SessionRecord.objects.get(pk=old.id).end_reason == EndReason.REPLACED
        assert signed_in_email(signed_in) == GRACE

    def test_a_page_of_the_old_one_that_is_just_rotating_touches_no_cookie(
        self, signed_in: Browser, api: DemoApi
    ) -> None:
        other_tab = signed_in.copy()
        api.expire_access_tokens()
        with Gate() as gate, ThreadPoolExecutor() as threads:
            api.fail("POST", "/auth/refresh", Fault.hold_after(gate))
            page = threads.submit(other_tab.open_page)
            assert gate.reached.wait(30)
            signed_in.sign_in(GRACE)
            api.forget_calls()
            gate.release()
            response = page.result(30)

        assert response.status_code == 302
        assert not cookies_set(response)
        assert api.count("POST", "/auth/logout", 204) == 1, "the pair that came too late was not revoked"


def late_write(browser: Browser, api: DemoApi) -> HttpResponse:
    """A response with the next generation of this browser's session."""
    api.expire_access_tokens()
    answer = browser.copy().open_page()
    assert cookies_set(answer)["session"].value
    return answer


def late_deletion(browser: Browser, api: DemoApi) -> HttpResponse:
    """A response that deletes this browser's session, because the API refused it."""
    api.revoke_all()
    answer = browser.copy().open_page()
    assert cookies_set(answer)["session"].value == ""
    return answer


@pytest.mark.parametrize("late", [late_write, late_deletion])
class TestLateResponsesOfTheOldSession:
    """They were sent before the new sign-in and reach the browser after it."""

    def test_they_leave_the_new_one_alone(
        self, signed_in: Browser, api: DemoApi, late: Callable[[Browser, DemoApi], HttpResponse]
    ) -> None:
        on_its_way = late(signed_in, api)
        signed_in.sign_in(GRACE)
        new = signed_in.session().id

        signed_in.receive(on_its_way)

        assert signed_in.is_signed_in()
        assert signed_in_email(signed_in) == GRACE
        assert signed_in.session().id == new

    def test_the_new_one_goes_on_rotating(
        self, signed_in: Browser, api: DemoApi, late: Callable[[Browser, DemoApi], HttpResponse]
    ) -> None:
        on_its_way = late(signed_in, api)
        signed_in.sign_in(GRACE)
        signed_in.receive(on_its_way)

        for generation in (1, 2):
            api.expire_access_tokens()
            assert signed_in.is_signed_in()
            assert signed_in.session().generation == generation
            assert signed_in.is_signed_in()
        assert signed_in_email(signed_in) == GRACE

    def test_the_first_page_makes_good_what_they_did(
        self, signed_in: Browser, api: DemoApi, late: Callable[[Browser, DemoApi], HttpResponse]
    ) -> None:
        on_its_way = late(signed_in, api)
        signed_in.sign_in(GRACE)
        signed_in.receive(on_its_way)
        assert signed_in.is_signed_in()

        signed_in.drop(f"session-new-{signed_in.session().id.hex[:8]}")

        assert signed_in_email(signed_in) == GRACE

    def test_a_browser_that_asks_for_nothing_for_a_while_is_still_signed_in(
        self, signed_in: Browser, api: DemoApi, late: Callable[[Browser, DemoApi], HttpResponse]
    ) -> None:
        on_its_way = late(signed_in, api)
        answer = cookies_set(signed_in.sign_in(GRACE))
        [name] = [name for name in answer if name.startswith("session-new-")]
        signed_in.receive(on_its_way)

        ten_minutes = 600
        if int(answer[name]["max-age"]) < ten_minutes:
            signed_in.drop(name)

        assert signed_in_email(signed_in) == GRACE

    def test_signing_out_of_the_new_one_leaves_nothing_behind(
        self, signed_in: Browser, api: DemoApi, late: Callable[[Browser, DemoApi], HttpResponse]
    ) -> None:
        on_its_way = late(signed_in, api)
        signed_in.sign_in(GRACE)
        new = signed_in.session().id
        signed_in.receive(on_its_way)

        signed_in.sign_out()

        assert not any(name.startswith("session") for name in signed_in.take())
        assert SessionRecord.objects.get(pk=new).end_reason == EndReason.SIGNED_OUT


def fail(**_: object) -> None:
    raise RuntimeError("the receiver fails")


@pytest.mark.parametrize("signal", [session_started, session_ended], ids=["started", "ended"])
def test_a_receiver_that_fails_keeps_nobody_out(signed_in: Browser, signal: Signal) -> None:
    """The receiver runs after the fact: the new session has begun, and the old one has ended."""
    signal.connect(fail)
    try:
        response = signed_in.sign_in(GRACE)
    finally:
        signal.disconnect(fail)

    assert response.status_code == 302
    assert signed_in_email(signed_in) == GRACE
