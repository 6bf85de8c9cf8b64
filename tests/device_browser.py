"""A stand-in for a browser with Device Bound Session Credentials: it makes a key, registers it, and proves it."""

from typing import Any

from tests.browsers import Answer, Browser
from tests.device_key import CHALLENGE, PROOF, REGISTRATION, SESSION_ID, Device, read_challenge, read_registration

__all__ = ["Device", "DeviceBrowser", "challenge_in"]


class DeviceBrowser(Browser):
    """A browser over HTTPS. It registers when it is asked to, and gets a missing device cookie before each request."""

    def __init__(self, cookies: dict[str, str] | None = None, *, device: Device | None = None) -> None:
        super().__init__(cookies)
        self.device = device or Device()
        #: What the site said at the registration and at each refresh; None before, and after the site has ended it.
        self.config: dict[str, Any] | None = None
        #: Whether it does as it is asked.
        self.registers = True

    def get(self, path: str, **options: Any) -> Answer:
        return self._send(super().get, path, **options)

    def post(self, path: str, data: Any = None, **options: Any) -> Answer:
        return self._send(super().post, path, data=data, **options)

    def _send(self, send: Any, path: str, **options: Any) -> Answer:
        if self.config is not None and not self.device_cookie():
            self.refresh()
        response: Answer = send(path, secure=True, **options)
        if self.registers and (asked := response.headers.get(REGISTRATION)):
            self.register(*read_registration(asked))
        return response

    def register(self, path: str, challenge: str) -> Answer:
        response = self.post_proof(path, self.device.register(challenge))
        self._take_config(response)
        return response

    def refresh(self) -> Answer:
        """Ask for a challenge, and sign it."""
        assert self.config is not None
        path, id_ = self.config["refresh_url"], self.config["session_identifier"]
        response = self.post_proof(path, None, id_)
        if response.status_code == 403:
            challenge = challenge_in(response)
            response = self.post_proof(path, self.device.sign(challenge), id_)
        self._take_config(response)
        return response

    def post_proof(self, path: str, proof: str | None, id_: str = "") -> Answer:
        """As Chromium sends it: without quotation marks."""
        headers = {}
        if proof is not None:
            headers[PROOF] = proof
        if id_:
            headers[SESSION_ID] = id_
        return Browser.post(self, path, secure=True, headers=headers)

    def device_cookie(self) -> str:
        """The device cookie of the binding; empty if it has none."""
        if self.config is None:
            return ""
        return self.take().get(self.config["credentials"][0]["name"], "")

    def expire_device_cookie(self) -> None:
        """Forget it, as at the end of its Max-Age."""
        assert self.config is not None
        self.drop(self.config["credentials"][0]["name"])

    def _take_config(self, response: Answer) -> None:
        if response.status_code == 200:
            config = response.json()
            self.config = config if config.get("continue", True) else None


def challenge_in(response: Answer) -> str:
    return read_challenge(response.headers[CHALLENGE])[0]
