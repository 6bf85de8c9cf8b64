"""The responses to errors: a page or a redirect for browsers, JSON for scripts, headers for htmx."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from django.http import HttpResponse
from django.template.loader import render_to_string
from django.urls import path

from accounts.api_client import ApiRequest
from config.urls import urlpatterns as site
from tests.browsers import Browser, cookies_set
from tests.demo_api.server import DemoApi, Fault


def order(request: ApiRequest) -> HttpResponse:
    """A page that is also the target of a form."""
    return HttpResponse(request.api.post("/protected-route", json={"pieces": 3}).content)


urlpatterns = [path("order/", order), path("/evil.example/", order), *site]
pytestmark = pytest.mark.urls(__name__)

NAVIGATION = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8", "Sec-Fetch-Mode": "navigate"}
SCRIPTS = {
    "it accepts JSON": {"Accept": "application/json"},
    "it accepts JSON among others": {"Accept": "application/json, text/plain, */*"},
    "the browser says it is a fetch": {"Accept": "*/*", "Sec-Fetch-Mode": "cors"},
}
#: What happens to the API's response to a call, and the status of the page. The API acted on some of the calls.
FAULTS = {
    "500": (Fault.answer(500), 503),
    "a lost response": (Fault.lose_answer(), 503),
    "a redirect": (Fault.answer(302, headers={"Location": "/"}), 502),
}
PROMISES = ("still signed in", "you still are", "othing is lost", "othing was changed", "session is as it was")
HTMX = {"HX-Request": "true", "HX-Current-URL": "http://testserver/order/?page=2", "Sec-Fetch-Mode": "cors"}
TO_SIGN_IN = "/accounts/login/?next=%2Fprotected%2F"
# The Referer of a request, and the `next` of the sign-in page.
REFERERS = {
    "a page of this site": ("http://testserver/order/", "%2Forder%2F"),
    "a page with a query": ("http://testserver/order/?page=2", "%2Forder%2F%3Fpage%3D2"),
    "a page with a fragment": ("http://testserver/order/#three", "%2Forder%2F"),
    "another site": ("https://evil.example/order/", "%2F"),
    "no page": ("", "%2F"),
    "no address": ("http://[::1", "%2F"),
    "a script": ("javascript:alert(1)", "%2F"),
}


class TestWithoutASession:
    def test_a_page_leads_to_the_sign_in_page_and_back(self, browser: Browser) -> None:
        response = browser.get("/protected/?rows=3&name=%C3%A4", headers=NAVIGATION)

        assert response.status_code == 302
        assert response["Location"] == "/accounts/login/?next=%2Fprotected%2F%3Frows%3D3%26name%3D%25C3%25A4"
        page = browser.get(response["Location"])
        assert 'value="/protected/?rows=3&amp;name=%C3%A4"' in page.text
        assert "Your session has ended" not in page.text

    def test_head_leads_to_the_same_address(self, browser: Browser) -> None:
        response = browser.client.head("/protected/?rows=3", headers=NAVIGATION)

        assert (response.status_code, response["Location"]) == (302, f"{TO_SIGN_IN}%3Frows%3D3")

    def test_a_path_that_looks_like_a_host_does_not_redirect_to_it(self, browser: Browser) -> None:
        response = browser.get("/", headers=NAVIGATION, PATH_INFO="//evil.example/")

        assert response["Location"].startswith("/accounts/login/?next=")
        [next_path] = parse_qs(urlsplit(response["Location"]).query)["next"]
        assert browser.sign_in(next=next_path)["Location"] == "/protected/"

    @pytest.mark.parametrize("headers", SCRIPTS.values(), ids=SCRIPTS)
    def test_a_script_gets_json(self, browser: Browser, headers: dict[str, str]) -> None:
        response = browser.get("/protected/", headers=headers)

        assert response.status_code == 401
        assert response.json() == {"detail": "You are not signed in.", "login": "/accounts/login/?next=%2F"}

    def test_htmx_is_redirected_to_the_sign_in_page(self, browser: Browser) -> None:
        response = browser.get("/protected/", headers=HTMX)

        assert (response.status_code, response.content) == (401, b"")
        assert response["HX-Redirect"] == "/accounts/login/?next=%2Forder%2F%3Fpage%3D2"

    @pytest.mark.parametrize(("referer", "next_path"), REFERERS.values(), ids=REFERERS)
    def test_a_form_leads_back_to_the_page_that_sent_it(self, browser: Browser, referer: str, next_path: str) -> None:
        response = browser.post("/order/", headers={**NAVIGATION, "Referer": referer})

        assert (response.status_code, response["Location"]) == (302, f"/accounts/login/?next={next_path}")

    @pytest.mark.parametrize(("referer", "next_path"), REFERERS.values(), ids=REFERERS)
    def test_a_script_leads_back_to_the_page_that_sent_it(self, browser: Browser, referer: str, next_path: str) -> None:
        response = browser.get("/order/", headers={**SCRIPTS["it accepts JSON"], "Referer": referer})

        assert response.json()["login"] == f"/accounts/login/?next={next_path}"

    def test_no_response_is_stored_by_a_shared_cache(self, browser: Browser) -> None:
        for headers in (NAVIGATION, SCRIPTS["it accepts JSON"], HTMX):
            response = browser.get("/protected/", headers=headers)
            assert "private" in response["Cache-Control"]
            assert "Cookie" in response["Vary"]


class TestEndedSession:
    def test_the_sign_in_page_says_that_the_session_has_ended(self, signed_in: Browser, api: DemoApi) -> None:
        api.revoke_all()

        response = signed_in.get("/protected/", headers=NAVIGATION)

        assert (response.status_code, response["Location"]) == (302, f"{TO_SIGN_IN}&ended=1")
        assert "Your session has ended." in signed_in.get(response["Location"]).text

    def test_a_script_gets_json(self, signed_in: Browser, api: DemoApi) -> None:
        api.revoke_all()

        response = signed_in.get("/protected/", headers=SCRIPTS["it accepts JSON"])

        assert response.status_code == 401
        assert response.json() == {"detail": "Your session has ended.", "login": "/accounts/login/?next=%2F&ended=1"}

    def test_htmx_is_redirected(self, signed_in: Browser, api: DemoApi) -> None:
        api.revoke_all()

        response = signed_in.get("/protected/", headers=HTMX)

        assert response["HX-Redirect"] == "/accounts/login/?next=%2Forder%2F%3Fpage%3D2&ended=1"
        assert cookies_set(response)["session"].value == ""


class TestApiErrors:
    def test_a_page_gets_503_in_the_sites_look(self, signed_in: Browser, api: DemoApi) -> None:
        api.fail("GET", "/protected-route", Fault.answer(503, headers={"Retry-After": "7"}))

        response = signed_in.get("/protected/", headers=NAVIGATION)

        assert (response.status_code, response["Retry-After"]) == (503, "7")
        assert "The service behind this site is not answering" in response.text
        assert "site.css" in response.text
        assert signed_in.is_signed_in()

    def test_a_page_gets_502_in_the_sites_look(self, signed_in: Browser, api: DemoApi) -> None:
        api.fail("GET", "/protected-route", Fault.answer(200, b"<h1>Hello</h1>", "text/html"))

        response = signed_in.get("/protected/", headers=NAVIGATION)

        assert response.status_code == 502
        assert "a response that we cannot use" in response.text
        assert "site.css" in response.text
        assert signed_in.is_signed_in()

    @pytest.mark.parametrize("headers", [*SCRIPTS.values(), HTMX], ids=[*SCRIPTS, "htmx"])
    def test_a_script_gets_json(self, signed_in: Browser, api: DemoApi, headers: dict[str, str]) -> None:
        api.fail("GET", "/protected-route", Fault.answer(500))
        api.fail("GET", "/protected-route", Fault.answer(302, headers={"Location": "/"}))

        unavailable, unusable = (signed_in.get("/protected/", headers=headers) for _ in range(2))

        assert (unavailable.status_code, unavailable["Retry-After"]) == (503, "5")
        assert unavailable.json() == {"detail": "The service behind this site is not answering."}
        assert unusable.status_code == 502
        assert unusable.json() == {"detail": "The service behind this site sent a response that this site cannot use."}

    @pytest.mark.parametrize(("fault", "status"), FAULTS.values(), ids=FAULTS)
    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
    def test_after_a_form_it_is_not_known_whether_the_api_acted(
        self, signed_in: Browser, api: DemoApi, method: str, fault: Fault, status: int
    ) -> None:
        api.fail("POST", "/protected-route", fault, times=3)
        headers = {**NAVIGATION, "Referer": "http://testserver/order/?page=2"}

        page = signed_in.client.generic(method, "/order/", headers=headers)
        jsons = [
            signed_in.client.generic(method, "/order/", headers=headers)
            for headers in (SCRIPTS["it accepts JSON"], HTMX)
        ]

        assert page.status_code == status
        assert "It is not known whether the service acted" in page.text
        assert 'href="/order/?page=2"' in page.text, "the page of the form, to check"
        assert "Try again" not in page.text
        assert "try again" not in page.text
        assert not any(promise in page.text for promise in PROMISES)
        for response in jsons:
            assert response.status_code == status
            assert "It is not known whether it acted on this request." in response.json()["detail"]

    @pytest.mark.parametrize("referer", ["http://testserver//evil.example/", "https://evil.example/", "javascript:x"])
    def test_the_page_of_the_form_is_one_of_this_site(self, signed_in: Browser, api: DemoApi, referer: str) -> None:
        api.fail("POST", "/protected-route", Fault.answer(500))

        page = signed_in.post("/order/", headers={**NAVIGATION, "Referer": referer})

        assert re.findall(r'class="button" href="([^"]*)"', page.text) in (["/"], ["/%2Fevil.example/"])

    @pytest.mark.parametrize(("fault", "status"), FAULTS.values(), ids=FAULTS)
    def test_a_page_may_be_tried_again(self, signed_in: Browser, api: DemoApi, fault: Fault, status: int) -> None:
        api.fail("GET", "/protected-route", fault, times=2)

        page = signed_in.get("/protected/", headers=NAVIGATION)

        assert page.status_code == status
        assert "it is safe to try again" in page.text
        assert "acted" not in page.text
        assert not any(promise in page.text for promise in PROMISES)

    @pytest.mark.parametrize("name", ["400.html", "403.html", "403_csrf.html", "404.html", "500.html"])
    def test_no_other_error_page_promises_what_is_not_known(self, name: str) -> None:
        page = render_to_string(name)

        assert not any(promise in page for promise in PROMISES)

    def test_the_log_has_the_error_but_no_query(
        self, signed_in: Browser, api: DemoApi, caplog: pytest.LogCaptureFixture
    ) -> None:
        api.fail("GET", "/protected-route", Fault.answer(500))

        signed_in.get("/protected/?name=ada")

        [line] = [record.getMessage() for record in caplog.records if record.name == "accounts.middleware"]
        assert line == "GET '/protected/': ApiUnavailable: status 500"
