"""A sign-in over an older session writes a second copy of its cookie, which late responses cannot undo."""

import dataclasses
import time

import pytest
from django.http import HttpResponse

from accounts.browser.cookies import delete_cookies, is_overwritten, read_cookies, write_cookies
from accounts.session.api_session import ApiSession
from tests.accounts.browser.cookie_jar import a_session, copy_name, jar_with
from tests.browsers import Browser
from tests.demo_api.server import DemoApi


class TestSignInOverAnOlderSession:
    @pytest.fixture
    def older(self) -> ApiSession:
        return a_session(seed=1)

    @pytest.fixture
    def newer(self) -> ApiSession:
        return a_session(seed=2)

    def test_the_copy_is_deleted_when_the_cookie_is_written_after_the_leeway(
        self, older: ApiSession, newer: ApiSession
    ) -> None:
        jar = jar_with(newer, jar_with(older).kept, replacing=True)
        assert copy_name(newer) in jar.send()

        rotated = newer.rotated(older.tokens)
        assert copy_name(newer) in jar_with(rotated, jar.kept).send()
        aged = dataclasses.replace(rotated, signed_in_at=time.time() - 31)
        assert copy_name(newer) not in jar_with(aged, jar.kept).send()

    def test_a_late_response_of_the_older_one_does_not_replace_it(self, older: ApiSession, newer: ApiSession) -> None:
        jar = jar_with(newer, jar_with(older).kept, replacing=True)

        late = HttpResponse()
        write_cookies(late, older.rotated(older.tokens), presented=jar_with(older).send(), replacing=False)
        jar.receive(late)

        assert read_cookies(jar.send()) == newer

    def test_a_session_in_parts_has_no_copy(self, older: ApiSession) -> None:
        """Servers and proxies would refuse a header of twice its size."""
        newer = a_session(12_000, seed=2)

        jar = jar_with(newer, jar_with(older).kept, replacing=True)

        assert not any(name.startswith("session-new") for name in jar.send())
        assert read_cookies(jar.send()) == newer

    def test_a_late_response_of_the_older_one_does_not_delete_it(self, older: ApiSession, newer: ApiSession) -> None:
        jar = jar_with(newer, jar_with(older).kept, replacing=True)

        late = HttpResponse()
        delete_cookies(late, presented=jar_with(older).send())
        jar.receive(late)

        assert read_cookies(jar.send()) == newer

    def test_a_late_response_of_the_second_sign_in_does_not_undo_the_third(
        self, older: ApiSession, newer: ApiSession
    ) -> None:
        """The second sign-in has a copy of its own, which its late response rewrites or deletes."""
        jar = jar_with(newer, jar_with(older).kept, replacing=True)
        presented = jar.send()
        newest = dataclasses.replace(a_session(seed=3), signed_in_at=newer.signed_in_at + 1)
        jar = jar_with(newest, jar.kept, replacing=True)

        for signed_in_at in (time.time(), time.time() - 60):
            late = HttpResponse()
            aged = dataclasses.replace(newer, signed_in_at=signed_in_at - 60)
            write_cookies(late, aged, presented=presented, replacing=False)
            jar.receive(late)
        late = HttpResponse()
        delete_cookies(late, presented=presented)
        jar.receive(late)

        assert read_cookies(jar.send()) == newest

    def test_the_next_generation_counts_although_the_copy_holds_an_older_one(
        self, older: ApiSession, newer: ApiSession
    ) -> None:
        jar = jar_with(newer, jar_with(older).kept, replacing=True)
        rotated = newer.rotated(older.tokens)

        assert read_cookies(jar_with(rotated, jar.kept).send()) == rotated

    def test_a_copy_that_no_key_decrypts_is_ignored(self, newer: ApiSession) -> None:
        assert read_cookies({"session": newer.seal_for_cookie(), copy_name(newer): "nonsense"}) == newer

    def test_the_copy_of_an_older_sign_in_is_ignored(self, older: ApiSession, newer: ApiSession) -> None:
        newer = dataclasses.replace(newer, signed_in_at=older.signed_in_at + 1)

        assert read_cookies({"session": newer.seal_for_cookie(), copy_name(older): older.seal_for_cookie()}) == newer

    def test_it_is_overwritten_if_the_first_copy_holds_another_session(
        self, older: ApiSession, newer: ApiSession
    ) -> None:
        cookies = jar_with(newer, jar_with(older).kept, replacing=True).send()

        assert not is_overwritten(cookies, newer)
        assert is_overwritten({**cookies, "session": older.seal_for_cookie()}, newer)

    def test_sign_out_deletes_both(self, older: ApiSession, newer: ApiSession) -> None:
        jar = jar_with(newer, jar_with(older).kept, replacing=True)
        response = HttpResponse()

        delete_cookies(response, presented=jar.send())
        jar.receive(response)

        assert jar.kept == {}

    @pytest.mark.parametrize("length", [600, 12_000], ids=["one cookie", "parts"])
    def test_a_third_sign_in_is_not_hidden_by_the_copy_of_the_second(
        self, older: ApiSession, newer: ApiSession, length: int
    ) -> None:
        newest = a_session(length, seed=3)

        jar = jar_with(newer, jar_with(older).kept, replacing=True)
        jar = jar_with(newest, jar.kept, replacing=True)

        assert read_cookies(jar.send()) == newest

    def test_it_outlives_its_copy_after_a_late_response_of_the_older_session(
        self, signed_in: Browser, api: DemoApi
    ) -> None:
        older = signed_in.take()["session"]
        signed_in.sign_in("grace@example.com")
        newer = signed_in.session()
        assert copy_name(signed_in.session()) in signed_in.take()
        # The older session's last response arrives now, and the user opens another page.
        signed_in.put({**signed_in.take(), "session": older})
        assert signed_in.open_page().status_code == 200

        # The leeway is over, so the copy is gone.
        signed_in.put({name: value for name, value in signed_in.take().items() if not name.startswith("session-new-")})

        assert signed_in.is_signed_in()
        assert signed_in.session().id == newer.id
