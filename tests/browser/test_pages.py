"""Every page, in a real browser: on a phone and on a wide screen, light and dark, and without a complaint."""

from collections.abc import Callable
from itertools import product
from typing import Literal

import pytest
from django.template.loader import render_to_string
from playwright.sync_api import Page, Request, Response

from tests.browser.conftest import ADA, PROJECT, fill_in, sign_in
from tests.demo_api.server import DemoApi, Fault

pytestmark = pytest.mark.browser

Visit = Callable[[Page, DemoApi], object]

WIDTHS = (360, 1400)
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
LONG_WORD = "x" * 400


def sign_in_wrongly(page: Page, api: DemoApi) -> None:
    page.goto("/accounts/login/")
    fill_in(page, ADA, "low-tide")
    page.get_by_role("alert").wait_for()


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


def renewed(page: Page, api: DemoApi) -> None:
    sign_in(page)
    api.expire_access_tokens()
    page.reload()
    page.get_by_text("renewed 1 time").wait_for()


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


def drawn(page: Page, api: DemoApi) -> None:
    """The drawn exchange after a rotation, with every drawing open."""
    renewed(page, api)
    page.request.get(f"/protected/api/protected-route{'/part' * 30}")
    page.goto("/protected/exchange/")
    page.get_by_text("renewed to generation 1").wait_for()
    page.locator("details").evaluate_all("all => all.forEach(it => { it.open = true; })")


#: The pages as they come, and how to get there.
PAGES: dict[str, Visit] = {
    "home": lambda page, api: page.goto("/"),
    "sign-in": lambda page, api: page.goto("/accounts/login/"),
    "sign-in after the session ended": lambda page, api: page.goto("/accounts/login/?ended=1"),
    "sign-in, wrong password": sign_in_wrongly,
    "sign-in, nothing typed": sign_in_with_nothing,
    "sign-in, no API": sign_in_without_an_api,
    "protected": lambda page, api: sign_in(page),
    "protected, renewed": renewed,
    "protected, text": answered_with(LONG_WORD),
    "protected, long cells": answered_with([{LONG_WORD: LONG_WORD, "b": LONG_WORD, "c": {"d": [1, LONG_WORD]}}] * 3),
    "protected, nothing": answered_with([]),
    "streamed": signed_in_at("/protected/stream/?rows=3&delay=0"),
    "script": signed_in_at("/protected/script/"),
    "drawn exchange": drawn,
}
ERRORS = sorted(path.name for path in (PROJECT / "templates").glob("[0-9]*.html"))

#: A picture of a page that was left before it had come.
LEFT_BEHIND = "net::ERR_ABORTED"

OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"

#: Texts whose contrast with what is behind them is below what WCAG 2.2 AA asks for (1.4.3).
FAINT_TEXTS = """() => {
  const channels = colour => colour.match(/[\\d.]+/g).map(Number);
  const luminance = colour => {
    const [r, g, b] = channels(colour).slice(0, 3).map(value => value / 255)
      .map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const background = element => {
    for (let it = element; it; it = it.parentElement) {
      const colour = getComputedStyle(it).backgroundColor;
      if ((channels(colour)[3] ?? 1) === 1) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const faint = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const [dark, light] = [luminance(style.color), luminance(background(element))].sort((a, b) => a - b);
    const size = parseFloat(style.fontSize);
    const needed = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5;
    const ratio = (light + 0.05) / (dark + 0.05);
    if (ratio < needed) faint.push(`${texts.currentNode.data.trim()}: ${ratio.toFixed(2)}`);
  }
  return faint;
}"""

#: What a screen reader stumbles over.
STUMBLES = """() => {
  const found = [];
  if (!document.documentElement.lang) found.push("no language");
  if (!document.title.trim()) found.push("no title");
  if (document.querySelectorAll("h1").length !== 1) found.push("not one h1");
  if (document.querySelectorAll("main").length !== 1) found.push("not one main");
  for (const field of document.querySelectorAll("input:not([type=hidden]), select, textarea"))
    if (!field.labels.length) found.push(`no label: ${field.name}`);
  for (const image of document.querySelectorAll("img"))
    if (!image.hasAttribute("alt")) found.push(`no alt: ${image.src}`);
  for (const link of document.querySelectorAll("a, button"))
    if (!link.textContent.trim()) found.push(`no name: ${link.outerHTML}`);
  const ids = [...document.querySelectorAll("[id]")].map(it => it.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) found.push(`twice: #${id}`);
  for (const name of ["aria-labelledby", "aria-describedby"])
    for (const it of document.querySelectorAll(`[${name}]`))
      for (const id of it.getAttribute(name).split(" "))
        if (!ids.includes(id)) found.push(`nowhere: #${id}`);
  return found;
}"""


def show_error(name: str) -> Visit:
    """An error page as the site renders it outside DEBUG, at an address that takes its styles from the site."""

    def visit(page: Page, api: DemoApi) -> None:
        body = render_to_string(name, using="pages")
        page.route("**/error", lambda route: route.fulfill(body=body, content_type="text/html; charset=utf-8"))
        page.goto("/error")

    return visit


ALL: dict[str, Visit] = {**PAGES, **{name: show_error(name) for name in ERRORS}}


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
    page.emulate_media(reduced_motion="reduce")  # no colour is on its way to another one when it is looked at

    visit(page, api)
    page.wait_for_load_state()
    for theme, width in product(THEMES, WIDTHS):
        page.emulate_media(color_scheme=theme)
        page.set_viewport_size({"width": width, "height": 800})
        overflow = page.evaluate(OVERFLOW)
        if overflow > 0:
            found.append(f"{theme}, {width} px: {overflow} px too wide")
        found += [f"{theme}, {width} px, {text}" for text in page.evaluate(FAINT_TEXTS)]
    found += page.evaluate(STUMBLES)

    assert found == []
    assert all(url.startswith(f"{site}/") for url in asked), asked


def test_the_two_themes_differ(page: Page) -> None:
    page.goto("/")
    colours = set()
    for theme in THEMES:
        page.emulate_media(color_scheme=theme)
        colours.add(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))

    assert len(colours) == len(THEMES)
