"""Another subdomain of the same site, which somebody has taken over, in a real browser.

Names below localhost lead to this machine without being asked for, and count as secure.
"""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.browser.conftest import PATIENCE_MS, expect_data, fill_in, sign_in
from tests.demo_api.server import DEMO_USERS, DemoApi, Fault
from tests.load.site import Site

pytestmark = pytest.mark.browser

OURS, SIBLING, ABOVE = "www.site.localhost", "taken.site.localhost", "site.localhost"
GRACE = "grace@example.com"
PROXY = "/protected/api/protected-route"
ENVIRONMENT = {
    "ALLOWED_HOSTS": f"127.0.0.1,{OURS}",
    "API_SESSION_COOKIE_SECURE": "true",
    "API_SESSION_COOKIE_NAME": "__Host-session",
}
#: Adds an element to a page, and says what became of it.
INCLUDE = """([kind, address]) => new Promise((resolve) => {
  const element = document.createElement(kind);
  element.onload = () => resolve("loaded");
  element.onerror = () => resolve("refused");
  element[kind === "link" ? "href" : "src"] = address;
  if (kind === "link") element.rel = "stylesheet";
  document.head.append(element);
})"""

#: Posts a session update that is none, with the token of the page.
POST_SESSION_UPDATE = """() => fetch("/accounts/session/update/", {
  method: "POST", body: JSON.stringify({ session: "none" }),
  headers: {
    "Content-Type": "application/json",
    "X-CSRFToken": document.querySelector("[name=csrfmiddlewaretoken]").value,
  },
}).then((answer) => answer.status)"""
#: What our script does with an event of an event stream, on a page without a token.
FOLLOWED_EVENT = """() => {
  document.querySelector("[name=csrfmiddlewaretoken]").remove();
  const source = new EventTarget();
  customElements.get("session-update").follow(source);
  source.dispatchEvent(new MessageEvent("session-update", { data: JSON.stringify({ session: "none" }) }));
}"""


class Blank(BaseHTTPRequestHandler):
    """Whatever the sibling's page does, the tests do by its scripts."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>Taken over</title>")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def deployed(chromium: Browser, shared_api: DemoApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of our site. After the browser, so that without one nothing is started."""
    database = f"sqlite:///{tmp_path_factory.mktemp('site') / 'db.sqlite3'}"
    site = Site(database_url=database, api_url=shared_api.url, workers=1, environment=ENVIRONMENT)
    site.migrate()
    with site:
        yield f"http://{OURS}:{site.port}"


@pytest.fixture(scope="module")
def sibling() -> Iterator[str]:
    """The address of the other."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Blank) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{SIBLING}:{server.server_port}"
        server.shutdown()


@pytest.fixture
def person(chromium: Browser, deployed: str) -> Iterator[BrowserContext]:
    with chromium.new_context(base_url=deployed) as context:
        context.set_default_timeout(PATIENCE_MS)
        yield context


@pytest.fixture
def page(person: BrowserContext) -> Page:
    """A tab in which Ada has signed in."""
    page = person.new_page()
    sign_in(page)
    return page


@pytest.fixture
def taken(person: BrowserContext, page: Page, sibling: str) -> Page:
    """Another tab of hers, with the sibling's page."""
    tab = person.new_page()
    tab.goto(sibling)
    return tab


def graces_session(chromium: Browser, deployed: str) -> str:
    """The cookie of somebody else, who signed in as herself."""
    with chromium.new_context(base_url=deployed) as hers:
        tab = hers.new_page()
        tab.goto("/protected/")
        fill_in(tab, GRACE, DEMO_USERS[GRACE])
        tab.wait_for_url("/protected/")
        return next(str(it["value"]) for it in hers.cookies() if it["name"] == "__Host-session")


@pytest.mark.parametrize("name", ["__Host-session", "\u2000__Host-session", "\u00a0__Host-session"], ids=ascii)
def test_a_cookie_of_its_own_takes_nobodys_place(
    chromium: Browser, deployed: str, page: Page, taken: Page, name: str
) -> None:
    planted = f"{name}={graces_session(chromium, deployed)}; Domain={ABOVE}; Path=/"
    taken.evaluate("cookie => { document.cookie = cookie }", planted)

    page.reload()

    expect_data(page)
    assert page.get_by_text(GRACE).count() == 0


def test_it_reads_no_answer_by_including_it(api: DemoApi, deployed: str, taken: Page) -> None:
    api.fail("GET", "/protected-route", Fault.answer(200, b"window.stolen = 'levels'", "text/javascript"), times=None)
    api.fail("GET", "/protected-route/rows/1", Fault.answer(200, b"<svg xmlns='http://www.w3.org/2000/svg'/>"))

    assert taken.evaluate(INCLUDE, ["script", deployed + PROXY]) == "refused"
    assert taken.evaluate("window.stolen") is None
    assert taken.evaluate(INCLUDE, ["script", f"{deployed}/accounts/session/"]) == "refused"
    assert taken.evaluate(INCLUDE, ["img", f"{deployed}{PROXY}/rows/1"]) == "refused"


def test_nor_does_our_own_page_run_what_the_api_holds(api: DemoApi, page: Page) -> None:
    """Markup that somebody got into a page may name a file that they have uploaded to the API."""
    script = Fault.answer(200, b"window.stolen = 'levels'", "text/javascript")
    api.fail("GET", "/protected-route", script, times=None)

    assert page.evaluate(INCLUDE, ["script", PROXY]) == "refused"
    assert page.evaluate(INCLUDE, ["link", PROXY]) == "refused"
    assert page.evaluate("window.stolen") is None
    assert (
        page.evaluate("address => fetch(address).then((answer) => answer.text())", PROXY) == "window.stolen = 'levels'"
    )


@pytest.mark.parametrize("path", ["/", "/accounts/", "/protected/"])
@pytest.mark.parametrize("name", ["csrftoken", "__Host-csrftoken", "\u2000__Host-csrftoken"], ids=ascii)
def test_a_csrf_cookie_of_its_own_is_in_nobodys_way(
    deployed: str, page: Page, taken: Page, api: DemoApi, name: str, path: str
) -> None:
    """It comes beside ours while a page is open. Forms and scripts of this page still work."""
    page.goto("/protected/script/")
    taken.evaluate("cookie => { document.cookie = cookie }", f"{name}={'k' * 32}; Domain={ABOVE}; Path={path}")

    refused = page.evaluate(POST_SESSION_UPDATE)
    api.forget_calls()
    with page.expect_response("**/accounts/session/update/") as posted:
        page.evaluate(FOLLOWED_EVENT)

    assert refused == 400, "it is the session update that is refused, and not the CSRF token"
    assert posted.value.status == 400
    page.goto("/protected/")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{deployed}/")


def test_a_form_with_a_token_that_it_has_set_itself_is_refused(deployed: str, page: Page, taken: Page) -> None:
    token = "k" * 32
    taken.evaluate(
        "cookie => { document.cookie = cookie }", f"csrftoken={token}; Domain={ABOVE}; Path=/accounts/logout"
    )

    with taken.expect_navigation() as navigation:
        taken.evaluate(
            """([address, token]) => {
              const form = document.createElement("form");
              Object.assign(form, { method: "post", action: address });
              form.innerHTML = `<input name="csrfmiddlewaretoken" value="${token}">`;
              document.body.append(form);
              form.submit();
            }""",
            [f"{deployed}/accounts/logout/", token],
        )

    assert navigation.value is not None
    assert navigation.value.status == 403
    page.reload()
    expect_data(page)
