"""A sign-in form that is posted more than once: by a double click, a repetition, or the back button."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from accounts.models import EndReason, SessionRecord
from tests.accounts.sign_in.helpers import signed_in_email
from tests.accounts.sign_in.rate_limits import WRONG, passwords_checked
from tests.browsers import ADA, GRACE, Answer, Browser, wait_until
from tests.demo_api.faults import Fault, Gate
from tests.demo_api.server import DEMO_USERS, DemoApi

_CSRF_FIELD = re.compile(r'name="csrfmiddlewaretoken" value="(\w+)"')


class Form:
    """A sign-in page that a browser has opened."""

    def __init__(self, browser: Browser) -> None:
        field = _CSRF_FIELD.search(browser.get("/accounts/login/?next=/protected/").text)
        assert field
        self.token = field[1]

    def post(self, browser: Browser, name: str = ADA, password: str = "") -> Answer:
        fields = {"username": name, "password": password or DEMO_USERS[name], "csrfmiddlewaretoken": self.token}
        return browser.post("/accounts/login/", fields)


@pytest.fixture
def browser(browser: Browser) -> Browser:
    return Browser(csrf_checks=True)


def double_click(api: DemoApi, form: Form, browsers: list[Browser], *passwords: str) -> list[Answer]:
    """Post the form in all browsers. The API responds to the first when the others are under way."""
    with Gate() as gate, ThreadPoolExecutor(len(browsers)) as threads:
        api.fail("POST", "/auth/login", Fault.hold_after(gate))
        first = threads.submit(form.post, browsers[0], ADA, passwords[0] if passwords else "")
        wait_until(lambda: gate.arrivals == 1)
        others = [threads.submit(form.post, browser, ADA, *passwords[1:]) for browser in browsers[1:]]
        for other in others:
            with pytest.raises(TimeoutError):
                other.result(0.3)
        gate.release()
        return [first.result(), *(other.result() for other in others)]


class TestADoubleClick:
    def test_makes_one_session(self, browser: Browser, api: DemoApi) -> None:
        form = Form(browser)
        browsers = [browser, browser.copy(), browser.copy()]

        answers = double_click(api, form, browsers)

        assert [(answer.status_code, answer["Location"]) for answer in answers] == [(302, "/protected/")] * 3
        assert passwords_checked(api) == 1
        assert {it.session().id for it in browsers} == {SessionRecord.objects.get().id}
        api.expire_access_tokens()
        assert all(it.is_signed_in() for it in browsers), "whichever response the browser uses, its session is alive"

    def test_in_a_browser_with_a_session_replaces_it(self, browser: Browser, api: DemoApi) -> None:
        """The form is open in one tab, and another tab has signed in."""
        form = Form(browser)
        Form(browser).post(browser, GRACE)
        browsers = [browser.copy(), browser.copy()]
        api.forget_calls()

        double_click(api, form, browsers)

        assert passwords_checked(api) == 1
        assert browsers[0].session() == browsers[1].session()
        assert [signed_in_email(it) for it in browsers] == [ADA] * 2
        assert all(it.is_signed_in() for it in browsers)
        assert SessionRecord.objects.get(pk=browser.session().id).end_reason == EndReason.REPLACED

    def test_where_the_first_response_came_and_the_second_is_late(self, browser: Browser, api: DemoApi) -> None:
        form, late = Form(browser), browser.copy()
        form.post(browser)

        assert form.post(late).status_code == 302

        assert passwords_checked(api) == 1
        assert late.session() == browser.session()
        assert api.count("POST", "/auth/logout") == 0

    def test_after_a_failure_the_second_tries_itself(self, browser: Browser, api: DemoApi) -> None:
        form = Form(browser)
        api.fail("POST", "/auth/login", Fault.answer(503))
        assert form.post(browser).status_code == 503

        assert form.post(browser).status_code == 302

    def test_a_first_one_that_fails_lets_the_second_go_on(self, browser: Browser, api: DemoApi) -> None:
        """The user has corrected the password before the first response came."""
        browsers = [browser, browser.copy()]

        answers = double_click(api, Form(browser), browsers, WRONG)

        assert [answer.status_code for answer in answers] == [200, 302]
        assert passwords_checked(api) == 2
        assert browsers[1].is_signed_in()


class TestTheSameFormLater:
    def test_nobody_gets_in_with_another_password(self, browser: Browser, api: DemoApi) -> None:
        form, thief = Form(browser), browser.copy()
        form.post(browser)

        assert form.post(thief, ADA, WRONG).status_code == 200

        assert passwords_checked(api) == 2
        assert signed_in_email(thief) is None
        assert signed_in_email(browser) == ADA

    def test_another_browser_does_not_get_in_without_the_password(self, browser: Browser, api: DemoApi) -> None:
        browsers = [browser, browser.copy()]

        answers = double_click(api, Form(browser), browsers, "", WRONG)

        assert [answer.status_code for answer in answers] == [302, 200]
        assert signed_in_email(browsers[1]) is None

    def test_wrong_and_then_right(self, browser: Browser) -> None:
        form = Form(browser)

        assert form.post(browser, ADA, WRONG).status_code == 200
        assert form.post(browser).status_code == 302
        assert browser.is_signed_in()

    def test_another_user_signs_in_after_the_back_button(self, browser: Browser) -> None:
        form = Form(browser)
        form.post(browser)

        form.post(browser, GRACE)

        assert signed_in_email(browser) == GRACE

    def test_after_that_the_first_user_signs_in_anew(self, browser: Browser, api: DemoApi) -> None:
        form = Form(browser)
        for name in (ADA, GRACE, ADA):
            assert form.post(browser, name).status_code == 302

        assert signed_in_email(browser) == ADA
        assert passwords_checked(api) == 3
        assert browser.is_signed_in()

    def test_after_a_sign_out_it_is_a_new_sign_in(self, browser: Browser, api: DemoApi) -> None:
        form = Form(browser)
        form.post(browser)
        first = browser.session().id
        browser.post("/accounts/logout/", {"csrfmiddlewaretoken": form.token})

        assert form.post(browser).status_code == 302

        assert browser.session().id != first
        assert browser.is_signed_in()
        assert SessionRecord.objects.get(pk=first).end_reason == EndReason.SIGNED_OUT

    def test_each_page_is_a_form_of_its_own(self, browser: Browser, api: DemoApi) -> None:
        forms = [Form(browser), Form(browser)]
        for form in forms:
            assert form.post(browser).status_code == 302
            assert browser.is_signed_in()

        assert passwords_checked(api) == 2
