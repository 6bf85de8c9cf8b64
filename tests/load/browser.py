"""A browser over real sockets: a cookie jar, as many tabs as one likes, and a network that loses answers."""

import http.client
import json
import re
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from tests.demo_api.users import DEMO_USERS
from tests.load.jar import CookieJar
from tests.real_apis.visitor import Visitor

ADA = "ada@example.com"
GRACE = "grace@example.com"
PAGE = "/protected/"
PATIENCE_SECONDS = 60.0

#: SO_LINGER with a time of zero: closing breaks the connection (RST).
_BREAK = struct.pack("ii", 1, 0)
_SESSION_COOKIE = re.compile(r"session(-[0-9]|-new-[0-9a-f]+)?=")
_CSRF_FIELD = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `seconds` is from sending to the last byte, and `started` when it was sent (time.monotonic())."""

    status: int
    headers: list[tuple[str, str]] = field(repr=False)
    body: bytes = field(repr=False)
    seconds: float
    started: float = 0.0

    def header(self, name: str) -> str:
        return next((value for known, value in self.headers if known.lower() == name.lower()), "")

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def cookies(self) -> list[str]:
        return [value for name, value in self.headers if name.lower() == "set-cookie"]

    @property
    def session_cookies(self) -> list[str]:
        """What it sets or deletes of the session. Other cookies are the CSRF token's, or of a sign-in under way."""
        return [cookie for cookie in self.cookies if _SESSION_COOKIE.match(cookie)]

    @property
    def signs_out(self) -> bool:
        """Whether a person who gets this is signed out: sent to the sign-in page, or told so as a script."""
        to_sign_in = self.status == 302 and self.header("Location").startswith("/accounts/login/")
        return to_sign_in or (self.status == 401 and not self.is_the_apis_own)

    @property
    def is_the_apis_own(self) -> bool:
        """Whether the site only passes on what the API has said to a script. No response of its own has this policy."""
        return self.header("Content-Security-Policy") == "sandbox; default-src 'none'"

    @property
    def deletes_session(self) -> bool:
        """Whether the cookie goes. A part of it, or the copy of a new sign-in, may go when it is needed no more."""
        return any(re.match(r"session=(\"\"|);", cookie) for cookie in self.cookies)


def page_or_events(path: str) -> str:
    """The Accept of a page, or of curl: `/protected/events/` has a page for those who ask for one."""
    return "*/*" if path.startswith("/protected/events/") else "text/html"


class Browser:
    """One browser, and all its tabs. Cookies are shared by all ports of a host, so it has them at every site's.

    With `tls`, it speaks HTTPS.
    """

    def __init__(self, port: int, jar: CookieJar | None = None, *, tls: ssl.SSLContext | None = None) -> None:
        self.port = port
        self.jar = jar or CookieJar()
        self.tls = tls
        #: How many requests it has sent.
        self.requests = 0
        #: What each request carries besides.
        self.headers: dict[str, str] = {}
        #: Of the Origin header.
        self.origin_scheme = "https" if tls else "http"

    def before_request(self, port: int) -> None:
        """Called before a request to the site's port takes the cookies of now."""

    def open_tab(
        self,
        path: str = PAGE,
        *,
        port: int | None = None,
        form: Mapping[str, str] | None = None,
        receives: bool = True,
        as_script: bool = False,
    ) -> "Tab":
        """Send a request, with the cookies of now, on a connection of its own; a form makes it a POST.

        `port` is the site's, where it is another one than the browser's usual. Without `receives` the cookies of the
        answer stay on the way until `receive`.
        """
        headers = {"Accept": "application/json" if as_script else page_or_events(path)}
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        body = None if form is None else urlencode(form)
        return Tab(self, port or self.port, path, headers=headers, body=body, receives=receives)

    def open_tabs(self, count: int, path: str = PAGE, *, ports: list[int] | None = None) -> "list[Tab]":
        """Tabs, all at once, over `ports` in turn."""
        ports = ports or [self.port]
        return [self.open_tab(path, port=ports[number % len(ports)]) for number in range(count)]

    def open(self, path: str = PAGE, *, port: int | None = None, as_script: bool = False) -> Answer:
        return self.open_tab(path, port=port, as_script=as_script).answer()

    def ask_again_and_again(self, take: Callable[[Answer], object], until: threading.Event) -> int:
        """Open page after page on one connection, for as long as the server keeps it; `take` gets each answer.

        Returns how often the server closed the connection under a request, which was then sent once more on a new one,
        as browsers do.
        """
        sent_again, answered = 0, 0
        with closing(self.connect(self.port)) as connection:
            while not until.is_set():
                started = time.perf_counter()
                self.before_request(self.port)
                headers = {**self.headers, "Cookie": self.jar.header(PAGE), "Accept": "text/html"}
                try:
                    connection.request("GET", PAGE, headers=headers)
                    response = connection.getresponse()
                    answer = Answer(
                        response.status, response.getheaders(), response.read(), time.perf_counter() - started
                    )
                except ConnectionError:
                    connection.close()
                    if not answered:
                        raise
                    sent_again, answered = sent_again + 1, 0
                    continue
                answered = 0 if response.will_close else answered + 1
                self.requests += 1
                self.receive(answer)
                take(answer)
        return sent_again

    def post(self, path: str, form: Mapping[str, str], *, port: int | None = None) -> Answer:
        return self.open_tab(path, port=port, form=form).answer()

    def connect(self, port: int) -> http.client.HTTPConnection:
        """A connection to a site's port, not established yet."""
        if self.tls is None:
            return http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
        return http.client.HTTPSConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS, context=self.tls)

    def post_hand_off(self, text: str) -> Answer:
        """What the script of a streamed page does with what it found in the body."""
        return self.run_script("/accounts/session/update/", {"session": text}).answer()

    def run_script(self, path: str, payload: Mapping[str, object]) -> "Tab":
        """A script of a page sends a POST with JSON."""
        headers = {"Content-Type": "application/json", "X-CSRFToken": self.jar.csrf_token}
        return Tab(self, self.port, path, headers=headers, body=json.dumps(payload), receives=True)

    def lose_answer(self, path: str = PAGE) -> None:
        """Send a request; its answer comes as far as this machine, and breaks off there."""
        self.open_tab(path, receives=False).lose()

    def sign_in(self, user: str = ADA) -> Answer:
        """As a person does: get the form, fill it in, send it; and at a provider, do what its pages ask.

        (A site whose users sign in at a provider takes no notice of name and password.)
        """
        page = self.open("/accounts/login/?next=/accounts/session/")
        found = _CSRF_FIELD.search(page.body.decode())
        token = found[1] if found else self.jar.csrf_token
        answer = self.post("/accounts/login/", self._sign_in_form(user, token))
        if answer.header("Location").startswith("http"):
            back = urlsplit(Visitor(user).follow(answer.header("Location")))
            answer = self.open(f"{back.path}?{back.query}")
        if answer.status != 302 or not self.jar.value("session"):
            raise AssertionError(f"could not sign in: {answer}")
        return answer

    def sign_out(self) -> Answer:
        return self.post("/accounts/logout/", {"csrfmiddlewaretoken": self.jar.csrf_token})

    def receive(self, answer: Answer) -> None:
        """The answer is here: its cookies count from now on."""
        self.jar.apply(answer.cookies)

    def copy(self) -> "Browser":
        """A thief with this browser's cookies of now."""
        copy = Browser(self.port, self.jar.copy(), tls=self.tls)
        copy.headers, copy.origin_scheme = dict(self.headers), self.origin_scheme
        return copy

    def _sign_in_form(self, user: str, token: str) -> dict[str, str]:
        return {
            "username": user,
            "password": DEMO_USERS[user],
            "next": "/accounts/session/",
            "csrfmiddlewaretoken": token,
        }


class Tab:
    """One request under way. It has been sent when this is made.

    `port` is the browser's end of the connection, and `site_port` the other one.
    """

    def __init__(
        self,
        browser: Browser,
        port: int,
        path: str,
        *,
        headers: Mapping[str, str],
        body: str | None,
        receives: bool,
        is_held_back: bool = True,
    ) -> None:
        self._browser = browser
        self._receives = receives
        self.site_port = port
        if is_held_back:
            browser.before_request(port)
        browser.requests += 1
        self._started = time.monotonic()
        self._connection = browser.connect(port)
        self._connection.connect()
        self.port: int = self._connection.sock.getsockname()[1]
        headers = {**browser.headers, **headers, "Cookie": browser.jar.header(path)}
        if body is not None:
            headers["Origin"] = f"{browser.origin_scheme}://127.0.0.1:{port}"
        self._connection.request("GET" if body is None else "POST", path, body, headers)
        self._answer: Future[Answer] | None = _in_thread(self._read) if receives else None

    def answer(self) -> Answer:
        """What came back. Raises OSError or HTTPException where the connection broke, AssertionError for silence."""
        return self._read() if self._answer is None else self._answer.result()

    def lose(self) -> None:
        """Wait until the answer begins to arrive, and break the connection."""
        connection = self._connection.sock
        select.select([connection], [], [], PATIENCE_SECONDS)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _BREAK)
        self._connection.close()

    def close(self) -> None:
        """Close the connection before the answer comes. Only for a tab that does not receive."""
        self._connection.close()

    def _read(self) -> Answer:
        try:
            response = self._connection.getresponse()
            body = response.read()
        except TimeoutError as silence:
            raise AssertionError(f"no answer within {PATIENCE_SECONDS:g} seconds") from silence
        finally:
            self._connection.close()
        answer = Answer(response.status, response.getheaders(), body, time.monotonic() - self._started, self._started)
        if self._receives:
            self._browser.receive(answer)
        return answer


def _in_thread(work: Callable[[], Answer]) -> "Future[Answer]":
    future: Future[Answer] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001  # raised again where the answer is asked for
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
