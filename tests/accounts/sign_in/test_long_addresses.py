"""Long addresses: the user signs in and comes back, up to a limit; beyond it no redirect of ours is too long."""

import re
from collections.abc import Iterator
from html import unescape
from urllib.parse import quote

import pytest
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.urls import path

from accounts.browser.next_page import MAX_NEXT_BYTES
from config.urls import urlpatterns as site_patterns
from tests.accounts.at_provider import begin, sign_in_cookies
from tests.accounts.odd_provider import OddProvider
from tests.browsers import Answer, Browser
from tests.demo_api.server import DEMO_USERS, DemoApi
from tests.load import browser as real
from tests.load.site import Site


def hello(request: HttpRequest) -> HttpResponse:
    return HttpResponse("hello")


urlpatterns = [path("personal/", login_required(hello)), *site_patterns]
pytestmark = pytest.mark.urls(__name__)

PAGE = "/protected/"
#: gunicorn's largest request line, without method and version.
MAX_ADDRESS = 8190 - len("GET  HTTP/1.1")
#: Addresses within the limit, as browsers send them.
LONG = {
    "450 Cyrillic letters": f"{PAGE}?q={quote('й' * 450)}",
    "1,300 Cyrillic letters": f"{PAGE}?q={quote('й' * 1300)}",
    "words": f"{PAGE}?q={quote('отчёт за ноябрь & декабрь, ' * 40)}",
    "800 ideographs": f"{PAGE}?q={quote('潮' * 800)}",
    "600 emoji": f"{PAGE}?q={quote('🌊' * 600)}",
    "2,000 letters": f"{PAGE}?q={'a' * 2000}",
    "many fields": f"{PAGE}?{'&'.join(f'field{number}={number}' for number in range(120))}",
    "escapes of escapes": f"{PAGE}?q={quote(quote('/+&=?#%' * 25))}",
}
#: Addresses beyond it, which servers accept.
TOO_LONG = {
    "2,300 letters": f"{PAGE}?q={'a' * 2300}",
    "8,000 letters": f"{PAGE}?q={'a' * 8000}",
    "2,500 spaces": f"{PAGE}?q={quote(' ' * 2500)}",
    "2,700 fields": f"{PAGE}?{'&a=' * 2700}",
    "bytes that are no text": f"{PAGE}?q={'%FF' * 2600}",
}
LETTERS = f"{PAGE}?q={quote('й' * 1000)}"


def place_on(page: str) -> str:
    """The value of `next` in the form of a sign-in page."""
    found = re.search(r'name="next" value="([^"]*)"', page)
    return unescape(found[1]) if found else ""


def leads_back(browser: Browser, answer: Answer) -> str:
    """Sign in after a redirect to the sign-in page. Returns the address that follows."""
    assert answer.status_code == 302
    assert len(answer["Location"]) <= MAX_ADDRESS
    page = browser.get(answer["Location"])
    assert page.status_code == 200
    back = browser.sign_in(next=place_on(page.text))
    assert back.status_code == 302
    return back["Location"]


@pytest.mark.parametrize("address", LONG.values(), ids=LONG)
def test_the_user_comes_back(browser: Browser, address: str) -> None:
    assert leads_back(browser, browser.get(address)) == address


@pytest.mark.parametrize("address", TOO_LONG.values(), ids=TOO_LONG)
def test_beyond_the_limit_the_user_comes_back_without_the_query(browser: Browser, address: str) -> None:
    assert leads_back(browser, browser.get(address)) == PAGE


def test_a_place_that_was_never_encoded_fits_too(browser: Browser, odd_provider: OddProvider) -> None:
    page = browser.get(
        odd_provider.come_back(begin(browser, f"{PAGE}?q={'🌊' * 990}"), code=None, error="access_denied")
    )

    [login] = re.findall(r'class="button" href="([^"]*)"', page.text)
    assert login == "/accounts/login/?next=%2Fprotected%2F"


def test_a_long_path_leads_to_the_protected_page(browser: Browser) -> None:
    answer = browser.get(f"/protected/api/{'a' * 3000}", headers={"Accept": "text/html"})
    assert answer.status_code == 404
    assert browser.sign_in(next=f"/{'a' * 3000}?q=1")["Location"] == PAGE


@pytest.mark.parametrize("place", ["https://evil.example/?q=", "//evil.example/?q=", r"/\evil.example/?q="])
def test_a_long_place_of_others_is_no_more_allowed_than_a_short_one(browser: Browser, place: str) -> None:
    for long in (place + quote("й" * 450), place + "a" * 3000):
        assert browser.sign_in(next=long)["Location"] == PAGE


def test_a_script_gets_a_login_address_that_fits(browser: Browser) -> None:
    referer = {"Referer": f"http://testserver{LETTERS}", "Accept": "application/json"}
    htmx = {"HX-Request": "true", "HX-Current-URL": f"http://testserver{LETTERS}"}

    addresses = (
        browser.get(PAGE, headers=referer).json()["login"],
        browser.get(PAGE, headers=htmx)["HX-Redirect"],
    )

    for login in addresses:
        assert len(login) <= MAX_ADDRESS
        assert browser.sign_in(next=place_on(browser.get(login).text))["Location"] == LETTERS
        browser.sign_out()


def test_a_redirect_of_djangos_decorators_fits(browser: Browser) -> None:
    address = LETTERS.replace(PAGE, "/personal/")

    assert leads_back(browser, browser.get(address)) == address


def test_the_way_to_another_account_fits(signed_in: Browser, api: DemoApi) -> None:
    api.stop_serving()
    link = re.search(r'href="([^"]*switch=1[^"]*)"', signed_in.get(LETTERS).text)
    assert link
    login = unescape(link[1])
    assert len(login) <= MAX_ADDRESS
    api.start_serving()

    assert signed_in.sign_in(next=place_on(signed_in.get(login).text))["Location"] == LETTERS


class TestAtAProvider:
    @pytest.mark.parametrize("address", LONG.values(), ids=LONG)
    def test_the_user_comes_back(self, odd_provider: OddProvider, newcomer: Browser, address: str) -> None:
        wanted = place_on(newcomer.get(newcomer.get(address)["Location"]).text)

        answer = newcomer.get(odd_provider.come_back(begin(newcomer, wanted)))

        assert answer["Location"] == address

    @pytest.mark.parametrize("address", TOO_LONG.values(), ids=TOO_LONG)
    def test_beyond_the_limit_without_the_query(
        self, odd_provider: OddProvider, newcomer: Browser, address: str
    ) -> None:
        wanted = place_on(newcomer.get(newcomer.get(address)["Location"]).text)

        assert newcomer.get(odd_provider.come_back(begin(newcomer, wanted)))["Location"] == PAGE

    def test_two_tabs_with_such_addresses_both_come_back(self, odd_provider: OddProvider, newcomer: Browser) -> None:
        places = [f"{PAGE}?tab={tab}&q={quote('й' * 450)}" for tab in range(2)]
        backs = [odd_provider.come_back(begin(newcomer, place)) for place in places]
        assert len(sign_in_cookies(newcomer)) == 2

        assert [newcomer.get(back)["Location"] for back in backs] == places

    def test_the_limit_is_the_same_for_the_cookie(self, odd_provider: OddProvider, newcomer: Browser) -> None:
        letters = (MAX_NEXT_BYTES - len(f"{PAGE}?q=")) // 2
        for number, kept in ((letters, True), (letters + 1, False)):
            address = f"{PAGE}?q={quote('й' * number)}"
            answer = newcomer.get(odd_provider.come_back(begin(newcomer, address)))
            assert answer["Location"] == (address if kept else PAGE)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with DemoApi(access_ttl=600) as api:
        site = Site(
            database_url=f"sqlite:///{tmp_path_factory.mktemp('site') / 'db.sqlite3'}",
            api_url=api.url,
            workers=1,
            threads=2,
        )
        site.migrate()
        with site:
            yield site


@pytest.mark.parametrize("address", (LONG | TOO_LONG).values(), ids=LONG | TOO_LONG)
def test_gunicorn_accepts_each_address_on_the_way(deployed: Site, address: str) -> None:
    person = real.Browser(deployed.port)
    page = person.open(person.open(address).header("Location"))
    form = {
        "username": real.ADA,
        "password": DEMO_USERS[real.ADA],
        "next": place_on(page.body.decode()),
        "csrfmiddlewaretoken": person.jar.csrf_token,
    }

    back = person.post("/accounts/login/", form)

    assert (page.status, back.status) == (200, 302)
    assert back.header("Location") in (address, PAGE)
    assert person.open(back.header("Location")).status == 200
