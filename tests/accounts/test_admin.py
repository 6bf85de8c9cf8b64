"""Sessions in the admin: staff see every one of them and can end it, and nobody sees a token."""

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission

from accounts.models import EndReason, SessionRecord
from tests.browsers import ADA, GRACE, Answer, Browser
from tests.demo_api.server import DemoApi

LIST = "/admin/accounts/sessionrecord/"


@pytest.fixture
def rotated(signed_in: Browser, api: DemoApi) -> Browser:
    """Ada's browser after a rotation: from then on the record holds a sealed copy."""
    api.expire_access_tokens()
    assert signed_in.is_signed_in()
    return signed_in


def staff(*permissions: str) -> Browser:
    """The browser of a staff user who has these permissions for sessions; without any, of a superuser."""
    users = get_user_model().objects
    user = users.create_user("harbour-master", is_staff=True, is_superuser=not permissions)
    user.user_permissions.set(Permission.objects.filter(codename__in=[f"{name}_sessionrecord" for name in permissions]))
    browser = Browser()
    browser.client.force_login(user)
    return browser


def end(browser: Browser, *sessions: SessionRecord) -> Answer:
    return browser.post(LIST, {"action": "end_sessions", "_selected_action": [str(record.pk) for record in sessions]})


def detail(record: SessionRecord) -> str:
    return f"{LIST}{record.pk}/change/"


class TestWhatStaffSee:
    def test_the_list_says_who_is_signed_in_and_since_when(self, rotated: Browser) -> None:
        page = staff().get(LIST)

        assert page.status_code == 200
        assert ADA in page.text
        assert "127.0.0.1" in page.text

    def test_the_detail_tells_the_rest(self, rotated: Browser) -> None:
        record = rotated.record()

        page = staff().get(detail(record))

        assert page.status_code == 200
        for shown in (str(record.pk), ADA, "127.0.0.1"):
            assert shown in page.text

    def test_no_page_holds_a_token_a_sealed_copy_or_a_cookie(self, rotated: Browser) -> None:
        session, record, browser = rotated.session(), rotated.record(), staff()
        assert record.sealed
        hidden = (
            session.tokens.access,
            session.tokens.refresh,
            session.secret.hex(),
            record.sealed,
            rotated.take()["session"],
        )

        for page in (LIST, f"{LIST}?q=ada", detail(record), f"{LIST}{record.pk}/history/"):
            text = browser.get(page, follow=True).text
            assert not [secret for secret in hidden if secret in text]

    @pytest.mark.parametrize("words", ["ada@", "ADA", "1"])
    def test_a_session_is_found_by_its_user(self, rotated: Browser, words: str) -> None:
        assert ADA in staff().get(LIST, data={"q": words}).text

    def test_a_session_is_found_by_its_id(self, rotated: Browser) -> None:
        browser = staff()

        for words in (str(rotated.record().pk), rotated.record().pk.hex):
            assert ADA in browser.get(LIST, data={"q": words}).text
        assert ADA not in browser.get(LIST, data={"q": "nobody"}).text

    def test_ended_ones_can_be_told_from_living_ones(self, rotated: Browser) -> None:
        grace = Browser()
        grace.sign_in(GRACE)
        grace.sign_out()

        page = staff().get(LIST, data={"end_reason__exact": EndReason.SIGNED_OUT})

        assert GRACE in page.text
        assert ADA not in page.text


class TestWhatStaffMayNotDo:
    def test_a_session_is_neither_added_nor_changed_nor_deleted(self, rotated: Browser) -> None:
        browser, record = staff(), rotated.record()

        assert browser.get(f"{LIST}add/").status_code == 403
        assert browser.post(f"{LIST}{record.pk}/delete/", {"post": "yes"}).status_code == 403
        browser.post(detail(record), {"user_name": "eve", "generation": "7", "end_reason": "revoked"})
        browser.post(LIST, {"action": "delete_selected", "_selected_action": [str(record.pk)], "post": "yes"})

        after = rotated.record()
        assert (after.user_name, after.generation, after.end_reason, after.ended_at) == (ADA, 1, "", None)

    def test_who_may_only_look_cannot_end_one(self, rotated: Browser) -> None:
        browser = staff("view")

        page = browser.get(LIST)
        end(browser, rotated.record())

        assert page.status_code == 200
        assert "end_sessions" not in page.text
        assert browser.get(detail(rotated.record())).status_code == 200
        assert rotated.record().ended_at is None

    def test_a_user_of_the_api_is_no_staff(self, rotated: Browser) -> None:
        response = rotated.get(LIST)

        assert response.status_code == 302
        assert response["Location"].startswith("/admin/login/")


class TestEndingSessions:
    def test_it_ends_them_and_says_how_many(self, rotated: Browser) -> None:
        grace = Browser()
        grace.sign_in(GRACE)
        browser = staff()

        response = end(browser, rotated.record(), grace.record())

        assert response.status_code == 302
        assert {record.end_reason for record in SessionRecord.objects.all()} == {EndReason.REVOKED}
        assert {record.sealed for record in SessionRecord.objects.all()} == {""}
        assert "2 sessions ended" in browser.get(LIST).text

    def test_one_that_has_ended_keeps_its_reason(self, rotated: Browser) -> None:
        rotated.sign_out()
        browser = staff("view", "end")

        end(browser, SessionRecord.objects.get())

        assert SessionRecord.objects.get().end_reason == EndReason.SIGNED_OUT
        assert "0 sessions ended" in browser.get(LIST).text

    def test_the_browser_is_out_at_its_next_rotation_and_its_pair_is_revoked(
        self, rotated: Browser, api: DemoApi
    ) -> None:
        assert rotated.is_signed_in()
        end(staff(), rotated.record())
        assert rotated.is_signed_in(), "until its access token runs out"
        api.expire_access_tokens()
        api.forget_calls()

        response = rotated.open_page()

        assert (response.status_code, response["Location"]) == (302, "/accounts/login/?next=%2Fprotected%2F&ended=1")
        assert not rotated.take().get("session")
        assert [(call.path, call.status) for call in api.calls] == [("/protected-route", 401), ("/auth/logout", 204)]


def test_nothing_can_be_saved_not_even_unchanged(rotated: Browser) -> None:
    """Django's form writes every column as it was loaded: a rotation in between would be undone."""
    record = SessionRecord.objects.get()

    answer = staff().post(f"/admin/accounts/sessionrecord/{record.pk}/change/", {"_save": "Save"})

    assert answer.status_code == 403
    assert SessionRecord.objects.get().generation == record.generation
