"""EventSources of one browser (WHATWG HTML, section 9.2), each in a thread. They reconnect, and check ids."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.load.browser import PATIENCE_SECONDS, Browser

#: They reconnect this much sooner than they are told to.
_HURRY = 20


class EventSource:
    """Follows one address until it gets another status than 200."""

    def __init__(self, browser: Browser, path: str, over: threading.Event) -> None:
        self._browser, self._path, self._over = browser, path, over
        #: How often it was connected, and how often a stream broke off in place of ending.
        self.connected = self.broken = 0
        #: The id of the last event, and whether an event was missing or came twice.
        self.last = 0
        self.out_of_order = False
        self.names: set[str] = set()
        #: The status that stopped it.
        self.stopped_by: int | None = None
        self._retry = 3.0
        self._last_id = ""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def join(self) -> None:
        self._thread.join(PATIENCE_SECONDS)

    def _run(self) -> None:
        while not self._over.is_set() and self.stopped_by is None:
            connection = http.client.HTTPConnection("127.0.0.1", self._browser.port, timeout=PATIENCE_SECONDS)
            try:
                self._follow(connection)
            except http.client.IncompleteRead:
                self.broken += not self._over.is_set()
            except (OSError, http.client.HTTPException):
                # Nobody listens while the site starts again.
                pass
            finally:
                connection.close()
            self._over.wait(self._retry / _HURRY)

    def _follow(self, connection: http.client.HTTPConnection) -> None:
        headers = {"Accept": "text/event-stream", "Cookie": self._browser.jar.header()}
        if self._last_id:
            headers["Last-Event-ID"] = self._last_id
        connection.request("GET", self._path, headers=headers)
        response = connection.getresponse()
        self._browser.jar.apply(response.headers.get_all("Set-Cookie") or [])
        if response.status != 200:
            self.stopped_by = response.status
            return
        self.connected += 1
        pending, text = self._last_id, b""
        # Raises IncompleteRead without the last chunk.
        while not self._over.is_set() and (piece := response.read1(65536)):
            *lines, text = (text + piece).split(b"\n")
            for line in lines:
                pending = self._take(line.decode(), pending)

    def _take(self, line: str, pending: str) -> str:
        """Take one line. Returns the id of the event that it is a part of."""
        name, _, value = line.partition(": ")
        if name == "retry":
            self._retry = int(value) / 1000
        elif name == "event":
            self.names.add(value)
        elif name == "id":
            pending = value
            self._note(value)
        elif not name:
            self._last_id = pending
        return pending

    def _note(self, number: str) -> None:
        if number.isdigit():
            self.out_of_order |= int(number) != self.last + 1
            self.last = int(number)


@contextmanager
def following(browser: Browser, paths: list[str]) -> Iterator[list[EventSource]]:
    """An EventSource for each path, until the end of the block."""
    over = threading.Event()
    sources = [EventSource(browser, path, over) for path in paths]
    try:
        yield sources
    finally:
        over.set()
        for source in sources:
            source.join()
