"""Sign-ins from chosen addresses, for the tests of the rate limits. The fixture `rate_limits` sets these limits."""

from typing import Any

from django.http import HttpResponse

from tests.browsers import ADA, Answer, Browser
from tests.demo_api.server import DEMO_USERS, DemoApi

HERE, ELSEWHERE = "198.51.100.7", "203.0.113.9"
PER_USER, PER_ADDRESS, ANYWHERE = 3, 5, 7
WINDOW_SECONDS = 600
WRONG = "low-tide"


def sign_in(browser: Browser, name: str = ADA, password: str = "", address: str = HERE, **options: Any) -> Answer:
    """Sign in with `password`, or the user's own one."""
    form = {"username": name, "password": password or DEMO_USERS[name]}
    return browser.post("/accounts/login/", form, REMOTE_ADDR=address, **options)


def fail(browser: Browser, times: int, name: str = ADA, address: str = HERE) -> None:
    for _ in range(times):
        assert sign_in(browser, name, WRONG, address).status_code == 200


def is_refused(response: HttpResponse) -> bool:
    assert response.status_code in (200, 302, 429)
    return response.status_code == 429


def passwords_checked(api: DemoApi) -> int:
    """How many passwords the API was asked to check."""
    return api.count("POST", "/auth/login")
