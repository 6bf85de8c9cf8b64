"""/accounts/sessions/: the user's own sessions, and their end."""

import re

from accounts.models import EndReason, SessionRecord
from tests.browsers import ADA, GRACE, Answer, Browser
from tests.demo_api.server import DemoApi

PAGE = "/accounts/sessions/"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
SAFARI = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5) AppleWebKit/605 Version/18.5 Mobile/15E148 Safari/604.1"


def sign_in(username: str, user_agent: str) -> Browser:
    browser = Browser()
    browser.client.defaults["HTTP_USER_AGENT"] = user_agent
    browser.sign_in(username)
    return browser


def listed(page: Answer) -> list[str]:
    """The ids on the page, in its order."""
    return re.findall(r'name="end" value="([0-9a-f-]{36})"', page.text)


def test_one_of_two_browsers_ends_the_session_of_the_other(api: DemoApi, transactional_db: None) -> None:
    phone, desk, grace = sign_in(ADA, SAFARI), sign_in(ADA, FIREFOX), sign_in(GRACE, FIREFOX)
    page = desk.get(PAGE)
    assert page.status_code == 200
    assert listed(page) == [str(desk.session().id), str(phone.session().id)]
    assert "Safari 18, iOS" in page.text
    record = phone.record()

    answer = desk.post(PAGE, {"end": str(record.pk)})

    assert (answer.status_code, answer["Location"]) == (302, PAGE)
    assert SessionRecord.objects.get(pk=record.pk).end_reason == EndReason.ENDED_ELSEWHERE
    assert listed(desk.get(PAGE)) == [str(desk.session().id)]
    api.expire_access_tokens()
    api.forget_calls()
    assert phone.open_page().status_code == 302
    assert [(call.path, call.status) for call in api.calls] == [("/protected-route", 401), ("/auth/logout", 204)]
    assert not phone.take().get("session")
    assert desk.is_signed_in()
    assert grace.is_signed_in()
