"""The limits on failed sign-ins for staff, in the admin."""

import pytest
from django.contrib.auth import get_user_model
from pytest_django import Settings

from tests.accounts.sign_in.rate_limits import (
    ANYWHERE,
    ELSEWHERE,
    HERE,
    PER_ADDRESS,
    PER_USER,
    WINDOW_SECONDS,
    WRONG,
    fail,
    is_refused,
    sign_in,
)
from tests.browsers import ADA, GRACE, Answer, Browser, table_away
from tests.demo_api.server import DEMO_USERS

pytestmark = pytest.mark.usefixtures("rate_limits")


def staff_sign_in(browser: Browser, password: str, address: str = HERE, name: str = "harbour-master") -> Answer:
    form = {"username": name, "password": password, "next": "/admin/"}
    return browser.post("/admin/login/", form, REMOTE_ADDR=address)


class TestStaff:
    @pytest.fixture(autouse=True)
    def harbour_master(self, transactional_db: None, settings: Settings) -> None:
        # The usual hashers are slow on purpose.
        settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
        get_user_model().objects.create_superuser("harbour-master", password=DEMO_USERS[ADA])

    def test_the_admins_form_has_the_same_limits(self, browser: Browser) -> None:
        for _ in range(PER_USER):
            assert staff_sign_in(browser, WRONG).status_code == 200

        response = staff_sign_in(browser, DEMO_USERS[ADA])

        assert response.status_code == 429
        assert 0 < int(response["Retry-After"]) <= WINDOW_SECONDS
        assert "Too many attempts to sign in have failed." in response.text
        assert 'value="harbour-master"' in response.text
        assert DEMO_USERS[ADA] not in response.text
        assert browser.get("/admin/").status_code == 302
        assert staff_sign_in(browser, DEMO_USERS[ADA], ELSEWHERE).status_code == 302
        assert browser.get("/admin/").status_code == 200

    def test_successes_do_not_count(self, browser: Browser) -> None:
        for _ in range(ANYWHERE + 1):
            assert staff_sign_in(Browser(), DEMO_USERS[ADA]).status_code == 302

    def test_an_incomplete_form_does_not_either(self, browser: Browser) -> None:
        for _ in range(PER_ADDRESS + 1):
            assert staff_sign_in(browser, "").status_code == 200

        assert staff_sign_in(browser, DEMO_USERS[ADA]).status_code == 302

    def test_they_are_not_the_apis_users_of_the_same_name(self, browser: Browser) -> None:
        get_user_model().objects.create_superuser(ADA, password="north-pier")
        fail(browser, PER_USER, ADA)

        assert is_refused(sign_in(browser, ADA))
        assert staff_sign_in(browser, "north-pier", name=ADA).status_code == 302

    def test_an_address_has_one_limit_for_both(self, browser: Browser) -> None:
        fail(browser, PER_USER, ADA)
        fail(browser, PER_ADDRESS - PER_USER, GRACE)

        assert staff_sign_in(browser, DEMO_USERS[ADA]).status_code == 429

    def test_without_the_counts_no_sign_in_succeeds(self, browser: Browser) -> None:
        with table_away("accounts_tally"):
            assert staff_sign_in(browser, DEMO_USERS[ADA]).status_code == 503

        assert staff_sign_in(browser, DEMO_USERS[ADA]).status_code == 302
