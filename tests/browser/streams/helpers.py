"""What the tests of streams share."""

from playwright.sync_api import BrowserContext, Page

from tests.browser.conftest import PATIENCE_MS, expect_data
from tests.demo_api.server import DemoApi, Fault, Gate
from tests.load.processes import wait_until

GRACE = "grace@example.com"
ROUTE = "/protected-route"
STREAM = "/protected/stream/?rows=3&delay=0"
EVENTS = "/protected/events/?rows=3&delay=0"
UPDATE = "**/accounts/session/update/"
#: Follows an event stream as the README says, and keeps its events.
FOLLOW = """address => {
  const heard = window.heard = [];
  const source = window.source = new EventSource(address);
  customElements.get("session-update").follow(source);
  source.addEventListener("message", event => heard.push(`row ${event.lastEventId}`));
  source.addEventListener("session-update", () => heard.push("session-update"));
  source.addEventListener("end", () => heard.push("end"));
  source.addEventListener("failure", event => heard.push(`failure ${event.data}`));
  source.addEventListener("error", () => heard.push("cut off"));
}"""

#: Posts a session update in the way of our script.
POST = """body => fetch("/accounts/session/update/", {
  method: "POST", body,
  headers: {
    "Content-Type": "application/json",
    "X-CSRFToken": /csrftoken=([^;]*)/.exec(document.cookie)[1],
  },
}).then(async answer => [answer.status, await answer.text()])"""


def cookie(context: BrowserContext) -> str:
    return next((str(it["value"]) for it in context.cookies() if it["name"] == "session"), "")


def generation(page: Page) -> object:
    return page.evaluate("fetch('/accounts/session/').then(answer => answer.json()).then(it => it.generation)")


def wait_for(page: Page, expression: str) -> None:
    """Playwright's own way to wait for an expression needs `eval`, which the site forbids."""
    wait_until(lambda: bool(page.evaluate(expression)), expression, seconds=PATIENCE_MS / 1000)


def hold_rows(api: DemoApi, *gates: Gate | None) -> None:
    """Let the API's next responses wait at these gates, one each; None for one that comes at once."""
    for gate in gates:
        api.fail("GET", ROUTE, Fault.hold_before(gate) if gate else Fault.delay(0))


def rows(page: Page) -> int:
    return page.locator("main li").count()


def expect_picked_up_without_another_refresh(page: Page, api: DemoApi, refreshes: int = 1) -> None:
    page.goto("/protected/")
    expect_data(page)
    assert generation(page) == refreshes
    assert api.count("POST", "/auth/refresh") == refreshes
    assert api.reuses == 0
