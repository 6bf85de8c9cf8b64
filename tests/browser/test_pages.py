"""Every page, in a real browser: on a phone and on a wide screen, light and dark, and without a complaint."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from django.template.loader import render_to_string
from playwright.sync_api import Page, Request, Response, Route

from tests.browser.conftest import ADA, FAILURES, PROJECT, fill_in, sign_in
from tests.browser.looks import THEMES, find_flaws, find_violations
from tests.demo_api.server import DemoApi, Fault

pytestmark = pytest.mark.browser

Visit = Callable[[Page, DemoApi], object]

LONG_WORD = "x" * 400
LONG_HOST = "login.identity.production.internal.north-sea-harbours.example.com"


def sign_in_wrongly(page: Page, api: DemoApi) -> None:
    page.goto("/accounts/login/")
    fill_in(page, ADA, "low-tide")
    page.get_by_role("alert").wait_for()


def sign_in_too_often(page: Page, api: DemoApi) -> None:
    """The page as it comes with its 429, which the browser's console would complain of."""

    def pass_on_as_a_success(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, status=200 if answer.status == 429 else answer.status)

    page.route("**/accounts/login/", pass_on_as_a_success)
    page.goto("/accounts/login/")
    for _ in range(FAILURES):
        fill_in(page, "stranger@example.com", "low-tide")
        page.get_by_text("Wrong e-mail address or password.").wait_for()
        page.goto("/accounts/login/")
    fill_in(page, "stranger@example.com", "low-tide")
    page.get_by_text("Too many attempts to sign in have failed.").wait_for()


def sign_in_with_nothing(page: Page, api: DemoApi) -> None:
    page.goto("/accounts/login/")
    page.locator("form").evaluate("form => form.noValidate = true")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text("This field is required.").first.wait_for()


def sign_in_without_an_api(page: Page, api: DemoApi) -> None:
    api.stop_serving()
    page.goto("/accounts/login/")
    page.get_by_text("python -m tests.demo_api").wait_for()
    api.start_serving()


def rotated(page: Page, api: DemoApi) -> None:
    sign_in(page)
    api.expire_access_tokens()
    page.reload()
    page.get_by_text("rotated 1 time").wait_for()


def signed_in_at(path: str) -> Visit:
    def visit(page: Page, api: DemoApi) -> None:
        sign_in(page)
        page.goto(path)

    return visit


def answered_with(data: object) -> Visit:
    def visit(page: Page, api: DemoApi) -> None:
        sign_in(page)
        api.fail("GET", "/protected-route", Fault.answer(200, {"data": data}))
        page.reload()

    return visit


def without_its_path(page: Page, api: DemoApi) -> None:
    """The protected page of an API that has no /protected-route."""
    sign_in(page)
    api.fail("GET", "/protected-route", Fault.answer(404))
    page.reload()
    page.get_by_text("The API has no data for this page").wait_for()


def broken_off(page: Page, api: DemoApi) -> None:
    """A streamed page whose API fails in the middle of the list."""
    sign_in(page)
    api.fail("GET", "/protected-route", Fault.answer(200, {"data": [{"station": LONG_WORD}]}))
    api.fail("GET", "/protected-route", Fault.answer(500))
    page.goto("/protected/stream/?rows=3&delay=0")
    page.get_by_text("did not send the rest of this page").wait_for()


def request_trace(page: Page, api: DemoApi) -> None:
    """The request trace after a rotation, with every request open."""
    rotated(page, api)
    page.request.get(f"/protected/api/protected-route{'/part' * 30}")
    page.goto("/protected/trace/")
    page.get_by_text("rotated to generation 1").wait_for()
    page.locator("details").evaluate_all("all => all.forEach(it => { it.open = true; })")


#: The pages as they come, and how to get there.
PAGES: dict[str, Visit] = {
    "home": lambda page, api: page.goto("/"),
    "home, signed in": signed_in_at("/"),
    "sign-in with another account": signed_in_at("/accounts/login/?switch=1"),
    "sign-in": lambda page, api: page.goto("/accounts/login/"),
    "sign-in after the session ended": lambda page, api: page.goto("/accounts/login/?ended=1"),
    "sign-in, wrong password": sign_in_wrongly,
    "sign-in, too often": sign_in_too_often,
    "sign-in, nothing typed": sign_in_with_nothing,
    "sign-in, no API": sign_in_without_an_api,
    "protected": lambda page, api: sign_in(page),
    "protected, rotated": rotated,
    "protected, text": answered_with(LONG_WORD),
    "protected, long cells": answered_with([{LONG_WORD: LONG_WORD, "b": LONG_WORD, "c": {"d": [1, LONG_WORD]}}] * 3),
    "protected, nothing": answered_with([]),
    "protected, no such path": without_its_path,
    "streamed": signed_in_at("/protected/stream/?rows=3&delay=0"),
    "streamed, broken off": broken_off,
    "events": signed_in_at("/protected/events/?rows=3&delay=0"),
    "script": signed_in_at("/protected/script/"),
    "your sessions": signed_in_at("/accounts/sessions/"),
    "request trace": request_trace,
}
ERRORS = sorted(path.name for path in (PROJECT / "templates").glob("[0-9]*.html"))

#: A picture of a page that was left before it had come.
LEFT_BEHIND = "net::ERR_ABORTED"


def show(name: str, **context: object) -> Visit:
    """A page as the site renders it outside DEBUG, at an address that takes its styles from the site."""

    def visit(page: Page, api: DemoApi) -> None:
        body = render_to_string(name, {"csrf_token": "none", **context})
        page.route("**/shown", lambda route: route.fulfill(body=body, content_type="text/html; charset=utf-8"))
        page.goto("/shown")

    return visit


#: Pages of a site whose users sign in at a provider with much to say. (test_providers.py goes there.)
AT_A_PROVIDER = {
    "sign-in at a provider": show("accounts/login_at_provider.html", provider=LONG_HOST),
    "sign-in with another account there": show(
        "accounts/login_at_provider.html", provider=LONG_HOST, account={"user": {"name": LONG_WORD}}
    ),
    "sign-in at a provider, failed while signed in": show(
        "accounts/sign_in_failed.html", detail="No.", words=LONG_WORD, account={"user": {"name": ADA}}, switch_url="/"
    ),
    "sign-in at a provider, failed": show("accounts/sign_in_failed.html", detail="No.", words=LONG_WORD, login="/"),
}

ACCOUNTS = {
    "a name": {"name": ADA, "email": ADA},
    "a long name": {"name": LONG_WORD, "email": f"{LONG_WORD}@example.com"},
}
#: The sessions of a user with a long name, in browsers and at addresses with long names.
MANY_SESSIONS = show(
    "accounts/sessions.html",
    account={"user": {"name": LONG_WORD}},
    is_user_known=True,
    sessions=[
        {
            "id": number,
            "current": number == 0,
            "browser": "unknown-program/1.0-with-a-name",
            "address": "2001:db8:85a3:8d3:1319:8a2e:370:7348",
            "signed_in_at": datetime(2026, 11, 30, 12, 0, tzinfo=UTC),
            "last_used_at": datetime(2026, 11, 30, 12, 0, tzinfo=UTC),
        }
        for number in range(3)
    ],
)

#: Error pages with the ways out of the session, after a page and after a form.
WITH_WAYS_OUT = {
    f"{name}, {whose}, {'a page' if is_safe else 'a form'}": show(
        name, account={"user": user, "switch_url": "/accounts/login/?switch=1"}, is_safe=is_safe, page=f"/?{LONG_WORD}"
    )
    for name in ("502.html", "503.html")
    for whose, user in ACCOUNTS.items()
    for is_safe in (True, False)
}

#: Pages that name the failed call, as with DEBUG.
WITH_FAILED_CALL = {
    f"{name}, for the developer": show(
        name,
        failed_call={"method": "GET", "path": f"/{LONG_WORD}", "status": 404},
        api_base_url=f"https://{LONG_HOST}/v1",
    )
    for name in ("502.html", "503.html", "accounts/login_at_provider.html", "accounts/sign_in_failed.html")
}

ALL: dict[str, Visit] = {
    **PAGES,
    **AT_A_PROVIDER,
    "your sessions, with long names": MANY_SESSIONS,
    **WITH_WAYS_OUT,
    **WITH_FAILED_CALL,
    **{name: show(name, request_id="0" * 32, account={"sign_in_url": "/accounts/login/"}) for name in ERRORS},
    "500.html, without a context": show("500.html"),
}


@pytest.mark.parametrize("visit", ALL.values(), ids=ALL)
def test_it_fits_can_be_read_and_makes_no_trouble(page: Page, site: str, api: DemoApi, visit: Visit) -> None:
    found: list[str] = []
    asked: set[str] = set()

    def note_answer(response: Response) -> None:
        if response.status >= 400:
            found.append(f"{response.status}: {response.url}")

    def note_failure(request: Request) -> None:
        if request.failure != LEFT_BEHIND:
            found.append(f"{request.failure}: {request.url}")

    page.on("console", lambda message: found.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: found.append(f"script: {error}"))
    page.on("request", lambda request: asked.add(request.url))
    page.on("requestfailed", note_failure)
    page.on("response", note_answer)

    visit(page, api)
    page.wait_for_load_state()
    found += find_flaws(page)
    found += [f"{it['id']}: {it['help']}" for it in find_violations(page)]

    assert found == []
    assert all(url.startswith(f"{site}/") for url in asked), asked


def test_the_two_themes_differ(page: Page) -> None:
    page.goto("/")
    colours = set()
    for theme in THEMES:
        page.emulate_media(color_scheme=theme)
        colours.add(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))

    assert len(colours) == len(THEMES)
