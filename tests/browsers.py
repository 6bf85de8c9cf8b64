"""Browsers for tests: Django's test client, with the words of a person who uses one."""

from http.cookies import Morsel
from typing import Any

from django.conf import settings
from django.http import HttpResponse
from django.test import Client

from accounts.cookies import read_cookies
from accounts.models import SessionRecord
from accounts.session import ApiSession
from tests.demo_api.users import DEMO_USERS

ADA = "ada@example.com"


class Browser:
    """One browser. It keeps cookies as a real one does, and `take` and `put` copy them as a thief would."""

    def __init__(self, cookies: dict[str, str] | None = None) -> None:
        self.client = Client(raise_request_exception=False)
        self.put(cookies or {})

    def get(self, path: str, **options: Any) -> HttpResponse:
        return self.client.get(path, **options)  # type: ignore[return-value]

    def post(self, path: str, data: Any = None, **options: Any) -> HttpResponse:
        return self.client.post(path, data, **options)  # type: ignore[return-value]

    def sign_in(self, username: str = ADA, password: str | None = None, **extra: str) -> HttpResponse:
        form = {"username": username, "password": password or DEMO_USERS[username], **extra}
        return self.post("/accounts/login/", form)

    def sign_out(self) -> HttpResponse:
        return self.post("/accounts/logout/")

    def open_page(self) -> HttpResponse:
        """The protected page: one call to the API."""
        return self.get("/protected/")

    def is_signed_in(self) -> bool:
        return self.open_page().status_code == 200

    def take(self) -> dict[str, str]:
        """The cookies, as they would be sent."""
        return {name: morsel.value for name, morsel in self.client.cookies.items() if morsel.value}

    def put(self, cookies: dict[str, str]) -> None:
        """Replace all cookies, as when an answer got lost and those of before still stand."""
        self.client.cookies.clear()
        self.client.cookies.load(cookies)

    def copy(self) -> "Browser":
        """Another browser with the same cookies: a thief's, or a second request of the same one."""
        return Browser(self.take())

    def session(self) -> ApiSession:
        """What the browser's cookie holds."""
        session = read_cookies(self.take())
        assert session is not None, "this browser holds no session"
        return session

    def record(self) -> SessionRecord:
        """The server's row for the browser's session."""
        record = SessionRecord.objects.look(self.session().id)
        assert record is not None
        return record


def cookies_set(response: HttpResponse) -> dict[str, "Morsel[str]"]:
    """The session cookies that an answer sets or deletes."""
    return {
        name: morsel for name, morsel in response.cookies.items() if name.startswith(settings.API_SESSION_COOKIE_NAME)
    }
