"""Browsers for tests: Django's test client, with the words of a person who uses one."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import timedelta
from http.cookies import Morsel
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import F
from django.http import HttpResponse
from django.test import Client

from accounts.browser.cookies import read_cookies
from accounts.models import SessionRecord
from accounts.session.api_session import ApiSession
from tests.demo_api.users import DEMO_USERS

ADA = "ada@example.com"
GRACE = "grace@example.com"
PATIENCE_SECONDS = 30.0


class Answer(HttpResponse):
    """What Django's test client makes of an answer."""

    context: Any
    """Of the template that made the page."""

    def json(self) -> Any: ...


class Browser:
    """One browser. It keeps cookies as a real one does, and `take` and `put` copy them as a thief would."""

    def __init__(self, cookies: dict[str, str] | None = None, *, csrf_checks: bool = False) -> None:
        self.client = Client(raise_request_exception=False, enforce_csrf_checks=csrf_checks)
        self.put(cookies or {})

    def get(self, path: str, **options: Any) -> Answer:
        with thread_connection_closed():
            return self.client.get(path, **options)  # type: ignore[return-value]

    def post(self, path: str, data: Any = None, **options: Any) -> Answer:
        with thread_connection_closed():
            return self.client.post(path, data, **options)  # type: ignore[return-value]

    def sign_in(self, username: str = ADA, password: str | None = None, **extra: str) -> Answer:
        form = {"username": username, "password": password or DEMO_USERS[username], **extra}
        return self.post("/accounts/login/", form)

    def sign_out(self) -> Answer:
        return self.post("/accounts/logout/")

    def open_page(self) -> Answer:
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

    def receive(self, response: HttpResponse) -> None:
        """Take the cookies of an answer to a copy of this browser: one that was on its way for long arrives now."""
        self.client.cookies.update(response.cookies)

    def drop(self, name: str) -> None:
        """Forget one cookie, as a browser does when its Max-Age has passed."""
        self.client.cookies.pop(name, None)

    def age(self, seconds: float) -> None:
        """Let so much time pass for the tokens in the cookie, by the site's own clock."""
        session = self.session()
        tokens = session.tokens
        aged = replace(
            tokens,
            received_at=tokens.received_at - seconds,
            rejected_at=None if tokens.rejected_at is None else tokens.rejected_at - seconds,
            access_expires_at=None if tokens.access_expires_at is None else tokens.access_expires_at - seconds,
            refresh_expires_at=None if tokens.refresh_expires_at is None else tokens.refresh_expires_at - seconds,
        )
        self.client.cookies[settings.API_SESSION_COOKIE_NAME] = replace(session, tokens=aged).seal_for_cookie()

    def session(self) -> ApiSession:
        """What the browser's cookie holds."""
        session = read_cookies(self.take())
        assert session is not None, "this browser holds no session"
        return session

    def record(self) -> SessionRecord:
        """The server's row for the browser's session."""
        record = SessionRecord.objects.fetch(self.session().id)
        assert record is not None
        return record


@contextmanager
def thread_connection_closed() -> Iterator[None]:
    """Leave no database connection behind in a thread of the test's: the thread may never come back to close it."""
    try:
        yield
    finally:
        if threading.current_thread() is not threading.main_thread():
            connection.close()


def let_a_minute_pass_in_records() -> None:
    """Ends and rotations so far were a minute ago.

    Right after one, a request is not known to be later: a slow query dates its arrival too early.
    """
    a_minute = timedelta(minutes=1)
    SessionRecord.objects.update(ended_at=F("ended_at") - a_minute, last_rotated_at=F("last_rotated_at") - a_minute)


def cookies_set(response: HttpResponse) -> dict[str, "Morsel[str]"]:
    """The session cookies that an answer sets or deletes."""
    return {
        name: morsel for name, morsel in response.cookies.items() if name.startswith(settings.API_SESSION_COOKIE_NAME)
    }


@contextmanager
def table_away(name: str) -> Iterator[None]:
    """The database answers, and every statement about this table fails."""
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {name} RENAME TO {name}_away")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {name}_away RENAME TO {name}")


def records_away() -> AbstractContextManager[None]:
    """Every statement about sessions fails."""
    return table_away("accounts_sessionrecord")


def wait_until(happened: Callable[[], bool]) -> None:
    """Look again and again, to a deadline that only a hung test meets."""
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert time.monotonic() < give_up_at, "it has not happened"
        time.sleep(0.01)
