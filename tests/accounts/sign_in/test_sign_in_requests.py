"""Sign-in requests that are malformed or forged, and the client address that the API receives."""

import re

import pytest
from pytest_django import Settings

from accounts.models import SessionRecord
from tests.browsers import ADA, Browser, cookies_set
from tests.demo_api.server import DEMO_USERS, DemoApi

PAGE = "/protected/"

MALFORMED = {
    "no fields": "",
    "NUL in the name": "username=ada%00&password=secret-word",
    "NUL in the password": "username=ada&password=secret-word%00",
    "a name of 10,000 characters": f"username={'a' * 10_000}&password=secret-word",
    "a password of 10,000 characters": f"username=ada&password={'secret-word' * 1_000}",
    "half a surrogate pair": "username=%ED%A0%80&password=secret-word%ED%A0%80",
    "not UTF-8": "username=%FF%FE&password=secret-word%FF",
    "emoji": "username=%F0%9F%8C%8A&password=secret-word%F0%9F%94%91",
    "line breaks": "username=ada%0D%0AX-Evil:%201&password=secret-word%0D%0A",
    "fields twice": "username=ada&username=eve&password=secret-word&password=x",
    "a percent sign alone": "username=%&password=secret-word%",
    "NUL in the place to go on to": "username=ada&password=secret-word&next=%2F%00",
}
# The number of trusted proxies, X-Forwarded-For, the peer's address, and the address that the API receives.
ADDRESSES = {
    "no proxy": (0, "", "198.51.100.7", "198.51.100.7"),
    "no proxy, and a forged header": (0, "203.0.113.9", "198.51.100.7", "198.51.100.7"),
    "one proxy": (1, "203.0.113.9", "10.0.0.1", "203.0.113.9"),
    "one proxy, and a forged header": (1, "192.0.2.66, 203.0.113.9", "10.0.0.1", "203.0.113.9"),
    "two proxies": (2, "192.0.2.66, 203.0.113.9, 10.0.0.2", "10.0.0.1", "203.0.113.9"),
    "one proxy that says nothing": (1, "", "10.0.0.1", "10.0.0.1"),
    "one proxy that says nonsense": (1, "unknown", "10.0.0.1", None),
    "IPv6": (1, "2001:DB8::0:1", "10.0.0.1", "2001:db8::1"),
    "a Unix socket": (0, "", "", None),
    "a Unix socket behind a proxy": (1, "203.0.113.9", "", "203.0.113.9"),
}


class TestMalformedForms:
    @pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
    def test_they_come_back_with_an_error(self, browser: Browser, body: str) -> None:
        response = browser.post("/accounts/login/", body, content_type="application/x-www-form-urlencoded")

        assert response.status_code == 200
        assert 'role="alert"' in response.text or 'aria-invalid="true"' in response.text
        assert "secret-word" not in response.text
        assert not cookies_set(response)
        assert not SessionRecord.objects.exists()

    @pytest.mark.parametrize(
        "content_type", ["application/json", "text/plain", "multipart/form-data; boundary=x", "multipart/form-data"]
    )
    def test_so_does_what_is_no_form(self, browser: Browser, api: DemoApi, content_type: str) -> None:
        response = browser.post("/accounts/login/", '{"username": "ada"}', content_type=content_type)

        assert response.status_code in (200, 400)
        assert not api.calls

    @pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS"])
    def test_other_methods_are_not_allowed(self, browser: Browser, api: DemoApi, method: str) -> None:
        assert browser.client.generic(method, "/accounts/login/").status_code == 405
        assert not api.calls


class TestTheAddressOfTheBrowser:
    @pytest.mark.parametrize(("proxies", "header", "peer", "told"), ADDRESSES.values(), ids=ADDRESSES)
    def test_the_api_is_told_it_with_every_call(
        self,
        browser: Browser,
        api: DemoApi,
        settings: Settings,
        proxies: int,
        header: str,
        peer: str,
        told: str | None,
    ) -> None:
        settings.TRUSTED_PROXY_COUNT = proxies
        headers = {"X-Forwarded-For": header} if header else {}
        form = {"username": ADA, "password": DEMO_USERS[ADA]}

        browser.post("/accounts/login/", form, headers=headers, REMOTE_ADDR=peer)
        api.expire_access_tokens()
        assert browser.get(PAGE, headers=headers, REMOTE_ADDR=peer).status_code == 200
        browser.post("/accounts/logout/", headers=headers, REMOTE_ADDR=peer)

        assert [(call.path, call.headers.get("x-forwarded-for")) for call in api.calls] == [
            ("/auth/login", told),
            ("/protected-route", told),
            ("/auth/refresh", told),
            ("/protected-route", told),
            ("/auth/logout", told),
        ]
        assert SessionRecord.objects.get().address == told


class TestForgedForms:
    def test_a_form_of_another_site_signs_nobody_in(self, api: DemoApi, transactional_db: None) -> None:
        browser = Browser(csrf_checks=True)

        response = browser.sign_in()

        assert response.status_code == 403
        assert "The form was not accepted" in response.text
        assert "site.css" in response.text, "the page has no style sheet"
        assert not cookies_set(response)
        assert not api.calls

    def test_our_own_form_does(self, api: DemoApi, transactional_db: None) -> None:
        browser = Browser(csrf_checks=True)
        page = browser.get("/accounts/login/")
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
        assert token

        response = browser.sign_in(csrfmiddlewaretoken=token[1])

        assert (response.status_code, response["Location"]) == (302, PAGE)
