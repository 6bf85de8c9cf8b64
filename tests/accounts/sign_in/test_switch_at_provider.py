"""Another account at the provider: for a session that never works again, and for one that works."""

import pytest
from pytest_django import Settings

from accounts.models import EndReason, SessionRecord
from tests.accounts.at_provider import PAGE, begin, query_of, sign_in_at_provider, walk, whoami
from tests.accounts.odd_provider import TOKEN, OddProvider
from tests.browsers import GRACE, Answer, Browser
from tests.demo_api.server import DEMO_USERS, Fault
from tests.real_apis.apis import OAuthProvider
from tests.real_apis.visitor import Visitor

SWITCH = "/accounts/login/?switch=1"
NO_PAIR = Fault.answer(200, {"whatever": 1})


def press_switch(browser: Browser, wanted: str = PAGE) -> Answer:
    """Press the button of the sign-in page, as a signed-in user finds it."""
    page = browser.get(f"{SWITCH}&next={wanted}")
    assert page.status_code == 200
    assert 'name="switch" value="1"' in page.text
    assert 'action="/accounts/logout/"' in page.text
    return browser.post("/accounts/login/", {"next": wanted, "switch": "1"})


def test_the_provider_is_told_to_ask_who_the_user_is(odd_provider: OddProvider, newcomer: Browser) -> None:
    newcomer.get(odd_provider.come_back(begin(newcomer)))

    assert query_of(press_switch(newcomer)["Location"])["prompt"] == "login"
    assert "prompt" not in query_of(begin(newcomer))


@pytest.mark.parametrize(
    ("configured", "sent"),
    [
        ("consent", "consent login"),
        ("select_account", "select_account"),
        ("login", "login"),
        ("select_account consent", "select_account consent"),
    ],
)
def test_a_configured_prompt_stays(
    odd_provider: OddProvider, newcomer: Browser, settings: Settings, configured: str, sent: str
) -> None:
    settings.OAUTH_AUTHORIZATION_PARAMETERS = f"prompt={configured}"
    newcomer.get(odd_provider.come_back(begin(newcomer)))

    assert query_of(press_switch(newcomer)["Location"])["prompt"] == sent
    assert query_of(begin(newcomer))["prompt"] == configured


def test_a_visitor_is_not_asked_twice(odd_provider: OddProvider, newcomer: Browser) -> None:
    page = newcomer.get(SWITCH)

    assert page.status_code == 200
    assert 'name="switch"' not in page.text


def test_a_session_that_never_works_again_has_the_ways_out(odd_provider: OddProvider, newcomer: Browser) -> None:
    newcomer.get(odd_provider.come_back(begin(newcomer)))
    old = newcomer.session().id
    odd_provider.expire_access_tokens()
    odd_provider.fail("POST", TOKEN, NO_PAIR)

    page = newcomer.get("/protected/?rows=3")
    odd_provider.claims = {"sub": "grace-1", "name": "Grace"}
    answer = newcomer.get(odd_provider.come_back(press_switch(newcomer, "/protected/?rows=3")["Location"]))

    assert page.status_code == 503
    assert 'action="/accounts/logout/"' in page.text
    assert f'href="{SWITCH}&amp;next=%2Fprotected%2F%3Frows%3D3"' in page.text
    assert answer["Location"] == "/protected/?rows=3"
    assert SessionRecord.objects.get(pk=old).end_reason == EndReason.REPLACED
    odd_provider.userinfo = {"sub": "grace-1", "name": "Grace"}
    assert whoami(newcomer) == "Grace"
    assert newcomer.is_signed_in()


def test_a_real_provider_asks_for_another_account(provider: OAuthProvider, newcomer: Browser) -> None:
    """The same visitor, whom the provider knows, would come back as Ada without the question."""
    visitor = Visitor()
    sign_in_at_provider(newcomer, visitor=visitor)
    visitor.take_account(GRACE, DEMO_USERS[GRACE])

    newcomer.get(walk(press_switch(newcomer)["Location"], visitor))

    assert whoami(newcomer) == "Grace"
