"""A browser that binds its sessions to the device as Chromium does: a stand-in with a key in software.

It registers beside its next requests, refreshes ahead of time, and holds back requests while the device cookie is
missing. It keeps the older session's key when its user signs in again, and it gives up a session that the site refuses.
"""

import json
import threading
import time
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

from tests.device_key import CHALLENGE, PROOF, REGISTRATION, SESSION_ID, Device, read_challenge, read_registration
from tests.load.browser import Answer, Browser, Tab
from tests.load.jar import CookieJar

#: Chromium refreshes ahead in the last two minutes. It would do so with every request; so it is with most of them here.
AHEAD_SECONDS = 120.0
PAUSE_SECONDS = 0.5
PROOF_SECONDS = 30
#: After a connection that broke or a 5xx.
ATTEMPTS = 3
MAX_CHALLENGES = 5

#: What a site needs for such browsers.
BOUND = {
    "API_SESSION_DEVICE_BINDING": "true",
    "API_SESSION_DEVICE_PROOF_SECONDS": str(PROOF_SECONDS),
    "API_SESSION_COOKIE_SECURE": "true",
    "TRUSTED_PROXY_COUNT": "1",
}


@dataclass(frozen=True, slots=True)
class BoundSession:
    """What a registration has brought."""

    id: str
    refresh_path: str
    cookie: str
    device: Device


class BoundBrowser(Browser):
    """To the site it comes over HTTPS by way of a proxy: TRUSTED_PROXY_COUNT=1."""

    def __init__(self, port: int, jar: CookieJar | None = None) -> None:
        super().__init__(port, jar)
        self.headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "127.0.0.1"}
        self.origin_scheme = "https"
        self.sessions: dict[str, BoundSession] = {}
        #: Why the site ended a binding, or why the browser gave one up.
        self.given_up: list[str] = []
        self.refreshes = 0
        self._refreshing = threading.Lock()
        self._refreshed_at = 0.0
        #: Whether it registers beside its next requests, or when `register` is called.
        self.registers_at_once = True
        self._offers: list[tuple[str, str]] = []
        self._registrations: list[threading.Thread] = []

    def receive(self, answer: Answer) -> None:
        super().receive(answer)
        if header := answer.header(REGISTRATION):
            self._offers.append(read_registration(header))
            if self.registers_at_once:
                thread = threading.Thread(target=self.register, daemon=True)
                self._registrations.append(thread)
                thread.start()

    def register(self) -> Answer | None:
        """Take the last offer of the site. None where the connection broke: browsers do not try again."""
        path, challenge = self._offers.pop()
        device = Device()
        try:
            answer = self._send(path, self.port, {PROOF: device.register(challenge)})
        except (OSError, HTTPException):
            return None
        if answer.status == 200:
            self._take_instructions(answer, device)
        return answer

    def wait_until_bound(self) -> None:
        """Until each registration has ended, well or not."""
        for thread in self._registrations:
            thread.join()

    def before_request(self, port: int) -> None:
        """Hold the request back while a device cookie is missing; refresh beside it if the cookie runs out soon."""
        for session in sorted(self.sessions.values(), key=lambda session: session.id):
            if not self.jar.lives_for(session.cookie, 0):
                with self._refreshing:
                    if not self.jar.lives_for(session.cookie, 0):
                        self._refresh(session, port)
            elif not self.jar.lives_for(session.cookie, AHEAD_SECONDS):
                self._refresh_ahead(session, port)

    def _refresh_ahead(self, session: BoundSession, port: int) -> None:
        if time.monotonic() - self._refreshed_at < PAUSE_SECONDS or not self._refreshing.acquire(blocking=False):
            return

        def refresh() -> None:
            try:
                self._refresh(session, port)
            finally:
                self._refreshing.release()

        threading.Thread(target=refresh, daemon=True).start()

    def _refresh(self, session: BoundSession, port: int) -> None:
        """Get a new device cookie. If that fails for now, requests go without."""
        for _ in range(ATTEMPTS):
            try:
                answer = self._send_proof(session, port)
            except (OSError, HTTPException):
                continue
            if answer.status < 500:
                break
        else:
            return
        self._refreshed_at = time.monotonic()
        if answer.status == 200:
            self.refreshes += 1
            self._take_instructions(answer, session.device)
        else:
            self._give_up(session.id, f"status {answer.status}")

    def _send_proof(self, session: BoundSession, port: int) -> Answer:
        headers = {SESSION_ID: f'"{session.id}"'}
        answer = self._send(session.refresh_path, port, headers)
        for _ in range(MAX_CHALLENGES):
            challenge = answer.header(CHALLENGE)
            if answer.status != 403 or not challenge:
                break
            proof = session.device.sign(read_challenge(challenge)[0])
            answer = self._send(session.refresh_path, port, {**headers, PROOF: proof})
        return answer

    def _send(self, path: str, port: int, headers: dict[str, str]) -> Answer:
        """A POST without a body, whose cookies count. It is not held back."""
        answer = Tab(self, port, path, headers=headers, body="", receives=False, is_held_back=False).answer()
        if answer.status < 400:
            self.jar.apply(answer.cookies)
        return answer

    def _take_instructions(self, answer: Answer, device: Device) -> None:
        instructions: dict[str, Any] = json.loads(answer.body)
        session_id = instructions["session_identifier"]
        if instructions.get("continue", True) is False:
            self._give_up(session_id, "the site ended it")
            return
        (credential,) = instructions["credentials"]
        assert any(line.startswith(f"{credential['name']}=") for line in answer.cookies), (
            "instructions without the cookie"
        )
        refresh_path = instructions["refresh_url"]
        self.sessions[session_id] = BoundSession(session_id, refresh_path, credential["name"], device)

    def _give_up(self, session_id: str, why: str) -> None:
        self.sessions.pop(session_id, None)
        self.given_up.append(f"{session_id}: {why}")
