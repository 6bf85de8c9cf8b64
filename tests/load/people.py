"""People who do at random what people do: pages, streams, downloads, answers that get lost, signing out and in."""

import random
import threading
import time
from http.client import HTTPException

from tests.load.browser import ADA, GRACE, PAGE, Answer, Browser, Tab
from tests.load.lost import SESSION_UPDATE
from tests.load.stage import Act, SessionLost

PATIENCE_SECONDS = 60.0
PAUSE_SECONDS = 0.1
MAX_TABS = 6
MAX_REST_SECONDS = 2.0

STREAMS = (
    "/protected/stream/?rows=4&delay=0.3",
    "/protected/events/?rows=4&delay=0.3",
    "/protected/download/?bytes=2000000",
)
SCRIPTS_CALL = "/protected/api/protected-route"
#: What a sick API, or its gateway, says to a script in its own words. A 401 may come twice: all tokens may expire, or
#: a gateway may refuse the call, right after a refresh. Then a 401 is passed on for a while, and the session stays.
PASSED_ON = (400, 401, 403, 404, 429, 500)
#: What a stream says whose session ended on the way.
_ENDED = (b"Your session has ended",)


class Person:
    """Somebody with one browser at a time, at the sites of an act. `dice` decides what they do.

    No request may break at the site with the port `steady`: nobody kills its workers.
    """

    def __init__(self, act: Act, dice: random.Random, *, steady: int) -> None:
        self.losses: list[str] = []
        #: Requests that got no answer, as their worker was killed, and sign-ins that had to be tried again.
        self.broken = self.failed_sign_ins = 0
        self._act = act
        self._dice = dice
        self._steady = steady
        self.browser = self._sign_in()

    def live(self, until: threading.Event) -> None:
        """Do one thing after another. A session that is lost is noted, and its user signs in again."""
        doings = {
            self._read_pages: 10,
            self._lose_an_answer: 3,
            self._watch_a_stream: 4,
            self._leave_a_stream: 1,
            self._run_a_script: 3,
            self._rest: 3,
            self._sign_in_over_the_old_session: 0.1,
            self._sign_out_and_in: 0.2,
            self._walk_away: 0.1,
        }
        while not until.is_set():
            (doing,) = self._dice.choices(list(doings), list(doings.values()))
            try:
                doing()
            except SessionLost as lost:
                self.losses.append(f"{doing.__name__.strip('_')}: {lost}")
                self.browser = self._sign_in()

    def _read_pages(self) -> None:
        for tab in [self._open_tab() for _ in range(self._dice.randint(1, MAX_TABS))]:
            self._take(tab)

    def _lose_an_answer(self) -> None:
        if tab := self._open_tab(receives=False):
            tab.lose()

    def _watch_a_stream(self) -> None:
        answer = self._take(self._open_tab(self._dice.choice(STREAMS)))
        if answer is None or answer.status != 200:
            return
        if any(words in answer.body for words in _ENDED):
            self._act.figures.lost += 1
            raise SessionLost("a stream ended with its session")
        found = SESSION_UPDATE.search(answer.body)
        if found:
            self._post_hand_off(found[1].decode())

    def _post_hand_off(self, text: str) -> None:
        self.browser.port = port = self._port()
        try:
            answer = self.browser.post_hand_off(text)
        except (OSError, HTTPException):
            self._note_break(port)
            return
        # 400: another tab was faster, and the browser has something newer.
        self._act.expect(answer, 204, 400, 503)

    def _leave_a_stream(self) -> None:
        if tab := self._open_tab(STREAMS[0], receives=False):
            tab.lose()

    def _run_a_script(self) -> None:
        answer = self._take(self._open_tab(SCRIPTS_CALL, as_script=True), *PASSED_ON)
        if answer is not None and answer.status == 401:
            self.browser.port = self._steady
            self._act.generation(self.browser)

    def _rest(self) -> None:
        time.sleep(self._dice.uniform(0, MAX_REST_SECONDS))

    def _sign_in_over_the_old_session(self) -> None:
        self.browser = self._sign_in(self.browser)

    def _sign_out_and_in(self) -> None:
        self.browser.port = port = self._port()
        try:
            self.browser.sign_out()
        except (OSError, HTTPException):
            self._note_break(port)
        # Whether or not it got through: the next sign-in ends the session.
        self._sign_in_over_the_old_session()

    def _walk_away(self) -> None:
        """Never to come back: nobody will end this session."""
        self.browser = self._sign_in()

    def _open_tab(self, path: str = PAGE, *, receives: bool = True, as_script: bool = False) -> Tab | None:
        """None where the worker was killed while it accepted the connection."""
        port = self._port()
        try:
            return self.browser.open_tab(path, port=port, receives=receives, as_script=as_script)
        except OSError:
            self._note_break(port)
            return None

    def _take(self, tab: Tab | None, *more_statuses: int) -> Answer | None:
        """An answer, which may say that the API is sick; None where the worker was killed under it."""
        if tab is None:
            return None
        try:
            answer = tab.answer()
        except (OSError, HTTPException):
            self._note_break(tab.site_port)
            return None
        return self._act.expect(answer, 200, 502, 503, *more_statuses)

    def _note_break(self, port: int) -> None:
        assert port != self._steady, "a connection broke at a site whose workers nobody killed"
        self.broken += 1

    def _sign_in(self, browser: Browser | None = None) -> Browser:
        """As often as it takes: the API may be away, and a worker may be killed at this too."""
        browser = browser or self._act.new_browser()
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while True:
            browser.port = self._port()
            try:
                browser.sign_in(self._dice.choice((ADA, GRACE)))
            except (OSError, HTTPException, AssertionError):
                assert time.monotonic() < give_up_at, "nobody can sign in any more"
                self.failed_sign_ins += 1
                time.sleep(PAUSE_SECONDS)
            else:
                return browser

    def _port(self) -> int:
        return self._dice.choice(self._act.ports)
