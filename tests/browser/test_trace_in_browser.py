"""The request trace in a real browser: live while a second tab works, and accessible."""

import re
from itertools import product
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, expect

from tests.browser.conftest import PATIENCE_MS, run_server, sign_in
from tests.browser.looks import THEMES, find_violations
from tests.browser.watch import Watch
from tests.demo_api.server import DemoApi, Fault, Gate
from tests.load.processes import wait_until

pytestmark = pytest.mark.browser

TRACE = "/protected/trace/"
WIDTHS = (320, 390, 1200)

#: Labels of a diagram that touch a lane, overlap another label or a circle, or lie beyond the edge of the page.
COVERED = """() => {
  const found = [];
  for (const picture of document.querySelectorAll(".diagram svg[aria-hidden]")) {
    const words = [...picture.querySelectorAll("text")].filter(it => it.getClientRects().length);
    const box = it => it.getBoundingClientRect();
    const meet = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
    // The box of a text is as high as its line; its letters are not.
    const letters = it => { const b = box(it); return new DOMRect(b.x, b.y + b.height * .2, b.width, b.height * .6); };
    for (const lane of picture.querySelectorAll(".life")) {
      const middle = (box(lane).left + box(lane).right) / 2, half = parseFloat(getComputedStyle(lane).strokeWidth) / 2;
      for (const text of words.filter(it => !it.matches(".lane, .number")))
        if (box(text).left < middle + half + 1 && middle - half - 1 < box(text).right)
          found.push(`${text.textContent} and a lane`);
    }
    words.forEach((text, index) => {
      const here = letters(text);
      if (here.left < 0 || here.right > innerWidth) found.push(`beyond the edge: ${text.textContent}`);
      for (const other of words.slice(index + 1))
        if (meet(here, letters(other))) found.push(`${text.textContent} and ${other.textContent}`);
      for (const circle of text.matches(".number") ? [] : picture.querySelectorAll("circle"))
        if (meet(here, box(circle))) found.push(`${text.textContent} and a circle`);
    });
  }
  return found;
}"""


@pytest.fixture
def watch(person: BrowserContext) -> Watch:
    return Watch(person)


@pytest.fixture
def trace(page: Page, person: BrowserContext, watch: Watch, api: DemoApi) -> Page:
    """A second tab with the request trace; Ada has signed in in the first tab."""
    sign_in(page)
    trace = person.new_page()
    trace.goto(TRACE)
    # The sign-in and the page after it may be recorded by now, or arrive as events.
    expect(live_status(trace)).to_have_text(re.compile("Live: new requests appear below.|(New|Ended): .*"))
    expect(requests(trace)).to_have_count(2)
    return trace


def live_status(page: Page) -> Locator:
    """The page has a second status: the notice before the end of the session."""
    return page.get_by_role("main").get_by_role("status")


def requests(page: Page) -> Locator:
    return page.locator("#requests > li")


def labels(item: Locator) -> list[str]:
    """The labels of a diagram, without the names of the lanes."""
    return item.locator("svg text").all_text_contents()[3:]


def test_a_rotation_in_another_tab_is_shown_at_once(page: Page, trace: Page, api: DemoApi, watch: Watch) -> None:
    trace.evaluate("window.fromBefore = true")
    api.expire_access_tokens()
    api.forget_calls()
    page.reload()

    newest = requests(trace).first
    expect(newest).to_contain_text("rotated to generation 1")
    assert trace.evaluate("window.fromBefore"), "without being loaded again"
    expect(newest.locator("svg").first).to_be_visible()
    shown = " ".join(labels(newest))
    assert [(call.path, call.status) for call in api.calls] == [
        ("/protected-route", 401),
        ("/auth/refresh", 200),
        ("/protected-route", 200),
    ]
    for part in ("GET /protected/", "401 ·", "POST /auth/refresh 200 ·", "stored", "Set-Cookie generation 1"):
        assert part in shown
    expect(newest.get_by_role("listitem")).to_have_count(6)
    expect(newest.get_by_role("listitem").nth(2)).to_contain_text(
        "traded the refresh token for a new pair: generation 1"
    )
    assert watch.complaints == []


def test_a_tab_that_picks_up_the_session_of_another_one_says_so(
    page: Page, person: BrowserContext, trace: Page, api: DemoApi
) -> None:
    other = person.new_page()
    other.goto("/protected/?tab=2")
    api.expire_access_tokens()
    with Gate() as gate:
        api.fail("POST", "/auth/refresh", Fault.hold_before(gate))
        for tab in (page, other):
            tab.evaluate("setTimeout(() => location.reload())")
        wait_until(lambda: api.count("GET", "/protected-route", 401) == 2, "both tabs have met a 401")
        gate.release()

    expect(requests(trace).filter(has_text="rotated to generation 1")).to_have_count(1)
    expect(requests(trace).filter(has_text="picked up generation 1")).to_have_count(1)


def test_a_stream_is_shown_while_it_is_sent_and_with_its_session_update(page: Page, trace: Page, api: DemoApi) -> None:
    with Gate() as two:
        api.fail("GET", "/protected-route", Fault.delay(0))
        api.fail("GET", "/protected-route", Fault.hold_before(two))
        page.goto("/protected/stream/?rows=3&delay=0", wait_until="commit")
        streamed = requests(trace).filter(has_text="GET /protected/stream/")
        expect(streamed).to_have_count(1)
        expect(streamed).not_to_contain_text("end of the body")
        assert two.reached.wait(PATIENCE_MS / 1000)
        api.expire_access_tokens()
        two.release()

    expect(streamed).to_contain_text("end of the body")
    expect(streamed).to_contain_text("session update")
    expect(streamed).to_have_count(1)
    posted = requests(trace).filter(has_text="POST /accounts/session/update/")
    expect(posted).to_contain_text("session update to generation 1")
    expect(posted).to_contain_text("update accepted")


def test_new_requests_are_announced_and_do_not_move_the_focus(page: Page, trace: Page) -> None:
    first = trace.locator("summary").first
    first.focus()
    focused = trace.locator(":focus h2")
    expect(focused).to_be_visible()
    before = focused.inner_text()
    page.goto("/protected/script/")

    expect(requests(trace).first).to_contain_text("GET /accounts/session/")
    expect(live_status(trace)).to_have_text("New: GET /accounts/session/: 200")
    assert focused.inner_text() == before
    assert trace.locator("#requests summary").first.evaluate("it => it !== document.activeElement")


def test_it_can_be_paused_and_then_catches_up(page: Page, trace: Page) -> None:
    trace.get_by_role("button", name="Pause").click()
    expect(live_status(trace)).to_have_text("Paused.")
    assert trace.evaluate("source.readyState === EventSource.CLOSED")
    count = requests(trace).count()
    page.reload()

    trace.get_by_role("button", name="Resume").click()

    expect(requests(trace)).to_have_count(count + 1)


def test_the_keyboard_opens_and_closes_a_diagram(trace: Page) -> None:
    summary = trace.locator("summary").first
    trace.get_by_role("button", name="Pause").focus()
    trace.keyboard.press("Tab")
    expect(summary).to_be_focused()
    assert summary.evaluate("it => getComputedStyle(it).outlineStyle") != "none"

    trace.keyboard.press("Enter")
    expect(trace.locator(".diagram").first).to_be_hidden()
    trace.keyboard.press("Space")
    expect(trace.locator(".diagram").first).to_be_visible()


def test_signing_out_elsewhere_ends_it_with_the_way_back(page: Page, trace: Page) -> None:
    page.get_by_role("button", name="Sign out").click()

    expect(live_status(trace)).to_contain_text("Your session has ended.")
    trace.get_by_role("link", name="Sign in again").click()
    expect(trace.get_by_role("heading", name="Sign in")).to_be_visible()


def test_without_scripts_it_shows_what_is_there(chromium: Browser, site: str, api: DemoApi) -> None:
    with chromium.new_context(base_url=site, java_script_enabled=False) as person:
        person.set_default_timeout(PATIENCE_MS)
        page = person.new_page()
        sign_in(page)
        expect(page.get_by_role("link", name="the request trace")).to_be_visible()

        def is_recorded() -> bool:
            page.goto(TRACE)
            return requests(page).count() > 0

        wait_until(is_recorded, "the requests so far are recorded")
        expect(page.locator("noscript .notice")).to_be_visible()
        expect(page.get_by_role("button", name="Pause")).to_have_count(0)
        expect(page.locator(".diagram svg").first).to_be_visible()


class TestAccessibility:
    @pytest.fixture
    def full(self, page: Page, trace: Page, api: DemoApi) -> Page:
        """The request trace with most kinds of rows, every request open."""
        api.expire_access_tokens()
        page.reload()
        with Gate() as two:
            api.fail("GET", "/protected-route", Fault.delay(0))
            api.fail("GET", "/protected-route", Fault.hold_before(two))
            page.goto("/protected/stream/?rows=9&delay=0", wait_until="commit")
            assert two.reached.wait(PATIENCE_MS / 1000)
            api.expire_access_tokens()
            # Leaving the page before the response would cancel the request.
            with page.expect_response("**/accounts/session/update/"):
                two.release()
            page.get_by_text("That was all.").wait_for()
        page.goto(f"/protected/api/protected-route{'/long' * 30}")
        api.expire_access_tokens()
        api.stop_serving()
        page.goto("/protected/")
        api.start_serving()
        for text in ("the API did not respond", "end of the body", "update accepted", "long/"):
            expect(requests(trace).filter(has_text=text).first).to_be_attached()
        trace.locator("details").evaluate_all("all => all.forEach(it => { it.open = true; })")
        trace.get_by_role("button", name="Pause").click()
        trace.emulate_media(reduced_motion="reduce")
        return trace

    def test_axe_finds_no_violation(self, full: Page) -> None:
        found = []
        for theme, width in product(THEMES, WIDTHS):
            full.emulate_media(color_scheme=theme)
            full.set_viewport_size({"width": width, "height": 800})
            found += [f"{theme}, {width} px: {it['id']}: {it['help']}" for it in find_violations(full)]

        assert found == []

    def test_no_label_covers_another_and_all_are_readable_on_a_phone(self, full: Page) -> None:
        covered = []
        for width in WIDTHS:
            full.set_viewport_size({"width": width, "height": 800})
            covered += [f"{width} px: {it}" for it in full.evaluate(COVERED)]
        assert covered == []

        full.set_viewport_size({"width": min(WIDTHS), "height": 800})
        sizes = full.locator(".diagram text").evaluate_all(
            "all => all.map(it => parseFloat(getComputedStyle(it).fontSize))"
        )
        assert min(sizes) >= 13
        scales = full.locator(".diagram svg[aria-hidden]").evaluate_all("all => all.map(it => it.getScreenCTM().a)")
        assert set(scales) == {1}


def test_the_debug_toolbar_shows_the_trace_under_the_same_strict_policy(
    chromium: Browser, shared_api: DemoApi, tmp_path: Path
) -> None:
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        complaints.append(message.text)

    with (
        run_server(shared_api.url, tmp_path, DEBUG_TOOLBAR="true") as url,
        chromium.new_context(base_url=url, viewport={"width": 1200, "height": 800}) as person,
    ):
        person.set_default_timeout(PATIENCE_MS)
        person.on("console", note)
        page = person.new_page()
        sign_in(page)
        shared_api.expire_access_tokens()
        answer = page.reload()
        assert answer is not None
        assert "unsafe" not in answer.headers["content-security-policy"]
        page.locator("#djdt-RequestTracePanel a").first.click()

        expect(page.locator("#RequestTracePanel .diagram svg[aria-hidden]")).to_be_visible()
        expect(page.locator("#RequestTracePanel .diagram")).to_contain_text(re.compile(r"Set-Cookie\s+generation 1"))
        expect(page.locator("#RequestTracePanel .diagram li").first).to_have_css("overflow-wrap", "anywhere")
        assert complaints == []
