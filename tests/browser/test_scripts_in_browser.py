"""Calls of a browser's scripts through this site, and what its scripts, its cookies and its console say of it."""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Response, expect

from tests.browser.conftest import ADA, PATIENCE_MS, PROJECT, fill_in, sign_in
from tests.demo_api.server import DemoApi, Fault, Gate
from tests.environment import clean_environment
from tests.load.processes import wait_until
from tests.load.site import Site

pytestmark = pytest.mark.browser

ROUTE = "/protected-route"
PROXY = "/protected/api/protected-route"
FIVE_AT_ONCE = "Call the API five times at once"
NOTE_VIOLATIONS = """
  addEventListener("securitypolicyviolation", it => console.error(it.violatedDirective, it.blockedURI));
"""
#: A script's call; how it went.
CALL = """async ([path, options]) => {
  const answer = await fetch(path, options);
  return { status: answer.status, text: await answer.text(), headers: Object.fromEntries(answer.headers) };
}"""
#: Everything that a script of the page can get hold of.
SEARCH = """async () => {
  const databases = await indexedDB.databases();
  const caches = await window.caches.keys();
  return JSON.stringify([
    document.cookie, { ...localStorage }, { ...sessionStorage }, databases, caches, window.name,
    document.documentElement.outerHTML, (await cookieStore.getAll()).map(it => [it.name, it.value]),
  ]);
}"""


@pytest.fixture(scope="module")
def demo() -> Iterator[DemoApi]:
    with DemoApi(access_ttl=600) as demo:
        yield demo


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('scripts') / 'db.sqlite3'}"


@pytest.fixture(scope="module")
def deployed(chromium: Browser, demo: DemoApi, database: str) -> Iterator[Site]:
    """With the cookie as in production. After the browser: without one, nothing is started."""
    site = Site(
        database_url=database,
        api_url=demo.url,
        workers=2,
        threads=6,
        environment={
            "API_READ_TIMEOUT": "60",
            "API_SESSION_COOKIE_SECURE": "true",
            "API_SESSION_COOKIE_NAME": "__Host-session",
            "API_PROXY_ALLOW": "GET /protected-route, POST /protected-route",
        },
    )
    site.migrate()
    with site:
        yield site


@pytest.fixture(scope="module")
def staff(deployed: Site, database: str) -> str:
    """A member of staff: user name and password in one."""
    name = "harbour-master"
    subprocess.run(
        [sys.executable, "manage.py", "createsuperuser", "--noinput", "--email", ""],
        cwd=PROJECT,
        env=clean_environment(
            DEBUG="true", DATABASE_URL=database, DJANGO_SUPERUSER_USERNAME=name, DJANGO_SUPERUSER_PASSWORD=name
        ),
        check=True,
        capture_output=True,
    )
    return name


@pytest.fixture
def api(demo: DemoApi) -> Iterator[DemoApi]:
    demo.forget_calls()
    yield demo
    demo.heal()
    demo.start_serving()


@pytest.fixture
def person(web_browser: Browser, deployed: Site, api: DemoApi) -> Iterator[BrowserContext]:
    with web_browser.new_context(base_url=deployed.url) as context:
        context.set_default_timeout(PATIENCE_MS)
        context.add_init_script(NOTE_VIOLATIONS)
        yield context


@pytest.fixture
def complaints(person: BrowserContext) -> list[str]:
    """What the consoles of all its tabs say."""
    found: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # Django's admin names no icon, so the browser tries one.
        if message.type in ("error", "warning") and not message.location["url"].endswith("/favicon.ico"):
            found.append(f"{message.type}: {message.text} ({message.location['url']})")

    person.on("console", note)
    person.on("weberror", lambda error: found.append(f"script: {error.error}"))
    return found


@pytest.fixture
def page(person: BrowserContext, complaints: list[str], api: DemoApi) -> Page:
    """A tab at /protected/script/, in which Ada has signed in."""
    page = person.new_page()
    sign_in(page)
    page.goto("/protected/script/")
    expect(page.locator("#visible")).to_contain_text('"authenticated": true')
    api.forget_calls()
    return page


def secrets(api: DemoApi, person: BrowserContext) -> list[str]:
    """The tokens of the API, as it has seen them, and the cookie."""
    bearers = [call.headers.get("authorization", "") for call in api.calls]
    tokens = [bearer.removeprefix("Bearer ") for bearer in bearers if bearer]
    for call in api.calls:
        if call.path == "/auth/refresh":
            tokens += json.loads(call.body).values()
    cookies = [str(it["value"]) for it in person.cookies() if it["name"] != "__Host-csrftoken"]
    return [*tokens, *cookies]


def script_headers(response: Response) -> str:
    """The headers that a script can read. Firefox tells Playwright of Set-Cookie too."""
    return json.dumps({name: value for name, value in response.headers.items() if name != "set-cookie"})


def csrf_token(person: BrowserContext) -> str:
    return next(str(it["value"]) for it in person.cookies() if it["name"] == "__Host-csrftoken")


@pytest.mark.firefox
def test_five_calls_at_the_moment_of_expiry_share_one_refresh_and_show_no_token(
    page: Page, person: BrowserContext, api: DemoApi, complaints: list[str]
) -> None:
    answers: list[int] = []
    seen: list[str] = []
    page.on("response", lambda answer: answers.append(answer.status) if PROXY in answer.url else None)
    page.on("response", lambda answer: seen.append(script_headers(answer)))
    api.expire_access_tokens()
    with Gate() as gate:
        api.fail("POST", "/auth/refresh", Fault.hold_before(gate))
        page.get_by_role("button", name=FIVE_AT_ONCE).click()
        # Chromium sends calls for the same address one after the other where their answers could be cached.
        assert gate.reached.wait(60)
        gate.release()
        lines = page.locator("#responses li")
        expect(lines).to_have_count(5)

    assert all("→ 200," in line for line in lines.all_inner_texts()), lines.all_inner_texts()
    assert answers == [200] * 5
    assert api.count("POST", "/auth/refresh") == 1
    assert api.reuses == 0
    expect(page.locator("#visible")).to_contain_text('"generation": 1')
    expect(page.locator("#visible")).to_contain_text("document.cookie: nothing of the session")
    found = page.evaluate(SEARCH)
    for secret in secrets(api, person):
        assert secret not in found
        assert secret not in "".join(seen)
    assert complaints == []
    page.goto("/protected/")
    assert api.count("POST", "/auth/refresh") == 1


def test_calls_at_different_addresses_meet_the_expiry_together(page: Page, api: DemoApi) -> None:
    api.expire_access_tokens()
    with Gate() as gate:
        api.fail("POST", "/auth/refresh", Fault.hold_before(gate))
        page.evaluate(
            """path => { window.answers = Promise.all([1, 2, 3, 4, 5].map(it => fetch(`${path}?call=${it}`))); }""",
            PROXY,
        )
        wait_until(lambda: api.count("GET", ROUTE, 401) == 5, "each has met a 401")
        gate.release()
        statuses = page.evaluate("window.answers.then(answers => answers.map(it => it.status))")

    assert statuses == [200] * 5
    assert api.count("POST", "/auth/refresh") == 1
    assert api.reuses == 0


@pytest.mark.firefox
def test_scripts_see_nothing_of_the_session(page: Page, person: BrowserContext, api: DemoApi) -> None:
    page.evaluate(CALL, [PROXY, {}])
    page.goto("/protected/")

    names = [cookie.split("=")[0] for cookie in page.evaluate("document.cookie").split("; ")]
    assert names == ["__Host-csrftoken"]
    found = page.evaluate(SEARCH)
    assert len(secrets(api, person)) >= 3
    for secret in secrets(api, person):
        assert secret not in found
    (cookie,) = [it for it in person.cookies() if it["name"] == "__Host-session"]
    assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"], cookie["path"]) == (True, True, "Lax", "/")


@pytest.mark.firefox
def test_a_call_that_changes_something_needs_the_csrf_token(page: Page, person: BrowserContext, api: DemoApi) -> None:
    options = {"method": "POST", "body": '{"level": 2.31}', "headers": {"Content-Type": "application/json"}}

    without = page.evaluate(CALL, [PROXY, options])
    assert (without["status"], api.calls) == (403, [])
    assert "X-CSRFToken" in json.loads(without["text"])["detail"]

    options["headers"] = {"Content-Type": "application/json", "X-CSRFToken": csrf_token(person)}
    api.expire_access_tokens()
    with_it = page.evaluate(CALL, [PROXY, options])
    assert (with_it["status"], with_it["text"]) == (201, '{"data": {"level": 2.31}}')
    assert api.count("POST", "/auth/refresh") == 1


def test_an_answer_arrives_piece_by_piece(page: Page, api: DemoApi) -> None:
    """A large one can be read while it comes."""
    size = page.evaluate(
        """async path => {
          const reader = (await fetch(path)).body.getReader();
          let [size, pieces] = [0, 0];
          for (let it; !(it = await reader.read()).done; pieces += 1) size += it.value.length;
          return [size >= 5_000_000, pieces > 1];
        }""",
        f"{PROXY}/export.csv?bytes=5000000",
    )

    assert size == [True, True]


@pytest.mark.firefox
def test_a_page_that_is_signed_out_elsewhere_leads_to_the_sign_in_and_back(
    page: Page, person: BrowserContext, api: DemoApi
) -> None:
    other = person.new_page()
    other.goto("/protected/")
    other.get_by_role("button", name="Sign out").click()
    other.wait_for_url("/")

    page.get_by_role("button", name=FIVE_AT_ONCE).click()

    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert "next=%2Fprotected%2Fscript%2F" in page.url
    fill_in(page, ADA, "tide-table")
    expect(page.get_by_role("heading", name="Calls from a script")).to_be_visible()


def test_an_api_that_is_away_costs_a_script_a_503_and_not_the_session(page: Page, api: DemoApi) -> None:
    api.stop_serving()

    answer = page.evaluate(CALL, [PROXY, {}])

    assert answer["status"] == 503
    assert int(answer["headers"]["retry-after"]) > 0
    assert list(json.loads(answer["text"])) == ["detail"]
    api.start_serving()
    assert page.evaluate(CALL, [PROXY, {}])["status"] == 200


def test_a_call_without_a_session_is_told_where_to_sign_in(person: BrowserContext, deployed: Site) -> None:
    page = person.new_page()
    page.goto("/")

    answer = page.evaluate(CALL, [PROXY, {}])

    assert answer["status"] == 401
    assert json.loads(answer["text"])["login"] == "/accounts/login/?next=%2F"
    page.goto(PROXY)
    assert page.url == f"{deployed.url}/accounts/login/?next=%2Fprotected%2Fapi%2Fprotected-route"


def test_a_websocket_is_refused(page: Page, api: DemoApi) -> None:
    outcome = page.evaluate(
        """path => new Promise(resolve => {
          const socket = new WebSocket(`ws://${location.host}${path}`);
          socket.addEventListener("open", () => resolve("open"));
          socket.addEventListener("error", () => resolve("refused"));
        })""",
        PROXY,
    )

    assert outcome == "refused"
    assert api.calls == []


PAGES = [
    "/",
    "/accounts/login/",
    "/accounts/login/?ended=1",
    "/protected/",
    "/protected/stream/?rows=2&delay=0",
    "/protected/stream/?rows=0",
    "/protected/script/",
    "/nowhere/",
    "/admin/login/",
]
STAFF_PAGES = [
    "/admin/",
    "/admin/password_change/",
    "/admin/accounts/sessionrecord/",
    "/admin/auth/user/add/",
]


def assert_obeys_its_policy(page: Page, path: str, complaints: list[str]) -> None:
    complaints.clear()
    answer = page.goto(path)
    assert answer is not None
    page.wait_for_load_state()
    policy = answer.all_headers()["content-security-policy"]
    assert "default-src 'self'" in policy, path
    assert "unsafe" not in policy, path
    # Chromium's console also notes that a page was a 404, which here it is meant to be.
    found = [text for text in complaints if answer.ok or page.url not in text]
    assert found == [], path


@pytest.mark.firefox
def test_no_page_meets_its_content_security_policy(page: Page, complaints: list[str]) -> None:
    for path in PAGES:
        assert_obeys_its_policy(page, path, complaints)


def test_no_page_of_the_admin_does(page: Page, staff: str, complaints: list[str]) -> None:
    assert_obeys_its_policy(page, "/admin/login/?next=/admin/accounts/sessionrecord/", complaints)
    page.get_by_label("Username").fill(staff)
    page.get_by_label("Password").fill(staff)
    page.get_by_role("button", name="Log in").click()
    record = page.locator("#result_list tbody th a").first
    expect(record).to_be_visible()
    assert complaints == []

    for path in [*STAFF_PAGES, record.get_attribute("href") or ""]:
        assert_obeys_its_policy(page, path, complaints)


@pytest.mark.firefox
def test_a_violation_would_be_noticed(page: Page, complaints: list[str]) -> None:
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=alert(1)>')")

    wait_until(lambda: bool(page.evaluate("true") and complaints), "the browser complains")
    assert any("script-src" in text for text in complaints), complaints
