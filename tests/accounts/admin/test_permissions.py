"""What staff may not do, and what no page of the admin shows."""

import re

import pytest

from accounts.history.background_writer import BackgroundWriter
from accounts.models import SessionEvent, SessionRecord
from tests.accounts.admin.pages import INDEX, LIST, choose, detail, end, staff
from tests.accounts.history.test_events import post_session_update, stream
from tests.accounts.rotation.helpers import move_back, rotate_and_confirm
from tests.browsers import ADA, GRACE, Browser
from tests.demo_api.server import DemoApi, Fault


class TestSecrets:
    PIECE = 12

    def pieces(self, texts: list[str]) -> set[str]:
        """Every piece of these texts that is long enough to be recognised."""
        return {text[start : start + self.PIECE] for text in texts for start in range(len(text) - self.PIECE + 1)}

    def shown(self, page: str, pieces: set[str]) -> list[str]:
        return [page[at : at + self.PIECE] for at in range(len(page)) if page[at : at + self.PIECE] in pieces]

    def test_no_page_holds_a_piece_of_a_token_a_sealed_copy_or_a_cookie(
        self, event_writer: BackgroundWriter[SessionEvent], signed_in: Browser, api: DemoApi
    ) -> None:
        hidden: list[str] = []

        def note(browser: Browser) -> None:
            session, record = browser.session(), browser.record()
            hidden.extend([session.tokens.access, session.tokens.refresh, session.secret.hex(), record.sealed])
            hidden.extend(browser.take().values())

        note(signed_in)
        thief = signed_in.copy()
        rotate_and_confirm(signed_in, api)
        note(signed_in)
        api.expire_access_tokens()
        page = stream(signed_in)
        hidden.extend(re.findall(r'session="([^"]+)"', page))
        post_session_update(signed_in, page)
        note(signed_in)
        api.expire_access_tokens()
        api.fail("POST", "/auth/refresh", Fault.answer(503))
        signed_in.open_page()
        living = Browser()
        living.sign_in(GRACE)
        rotate_and_confirm(living, api)
        note(living)
        record, other = signed_in.record(), living.record()
        move_back(signed_in, 31)
        thief.open_page()
        event_writer.finish(30)
        browser = staff()
        paths = (
            *(INDEX, "/admin/accounts/", LIST, f"{LIST}?q=ada", f"{LIST}?state=ended", f"{LIST}?state=active"),
            *(detail(record), detail(other), f"{LIST}{record.pk}/history/", f"{LIST}{other.pk}/history/"),
            *("/admin/jsi18n/", f"{LIST}nothing/change/"),
        )
        assert other.sealed, "an ended session has no sealed copy"
        pages = {f"before the end: {path}": browser.get(path, follow=True) for path in paths}
        pages |= {"asked": choose(browser, other), "ended": end(browser, other)}
        pages |= {f"after it: {path}": browser.get(path, follow=True) for path in paths}
        pieces = self.pieces([text for text in hidden if text])
        assert len(pieces) > 1000
        assert self.shown(f"here is {hidden[0][5:40]}", pieces), "the test finds a piece"

        for name, answer in pages.items():
            assert answer.status_code in (200, 302), name
            assert self.shown(answer.text, pieces) == [], name

    @pytest.mark.parametrize("field", ["sealed", "lease_owner", "retired", "user_agent"])
    def test_no_filter_in_the_address_reveals_a_column_letter_by_letter(self, rotated: Browser, field: str) -> None:
        browser = staff()

        assert browser.get(LIST, data={f"{field}__startswith": rotated.record().sealed[:1]}).status_code == 400


class TestPermissions:
    def test_a_session_is_neither_added_nor_changed_nor_deleted(self, rotated: Browser) -> None:
        browser, record = staff(), rotated.record()

        assert browser.get(f"{LIST}add/").status_code == 403
        assert browser.post(f"{LIST}{record.pk}/delete/", {"post": "yes"}).status_code == 403
        browser.post(detail(record), {"user_name": "eve", "generation": "7", "end_reason": "revoked"})
        browser.post(LIST, {"action": "delete_selected", "_selected_action": [str(record.pk)], "post": "yes"})

        after = rotated.record()
        assert (after.user_name, after.generation, after.end_reason, after.ended_at) == (ADA, 1, "", None)

    def test_the_view_permission_alone_cannot_end_a_session(self, rotated: Browser) -> None:
        browser = staff("view")

        page = browser.get(LIST)
        asked = choose(browser, rotated.record())
        choose(browser, rotated.record(), confirmed="yes")

        assert "Sessions to end" not in asked.text
        assert page.status_code == 200
        assert "end_sessions" not in page.text
        assert browser.get(detail(rotated.record())).status_code == 200
        assert rotated.record().ended_at is None

    def test_the_end_permission_alone_cannot_view_sessions(self, rotated: Browser) -> None:
        browser = staff("end")

        assert browser.get(LIST).status_code == 403
        assert browser.get(detail(rotated.record())).status_code == 403
        assert choose(browser, rotated.record()).status_code == 403

    def test_events_have_no_pages_of_their_own(self, rotated: Browser) -> None:
        assert staff().get("/admin/accounts/sessionevent/").status_code == 404

    def test_a_user_of_the_api_is_not_staff(self, rotated: Browser) -> None:
        response = rotated.get(LIST)

        assert response.status_code == 302
        assert response["Location"].startswith("/admin/login/")


def test_nothing_can_be_saved_not_even_unchanged(rotated: Browser) -> None:
    """Django's form writes every column as it was loaded, and would undo a rotation in between."""
    record = SessionRecord.objects.get()

    answer = staff().post(f"/admin/accounts/sessionrecord/{record.pk}/change/", {"_save": "Save"})

    assert answer.status_code == 403
    assert SessionRecord.objects.get().generation == record.generation
