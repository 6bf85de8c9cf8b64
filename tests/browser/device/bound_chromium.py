"""A Chromium that binds sessions to the device, with keys in software in place of a TPM."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, CDPSession, Page

from tests.browser.conftest import CHROMIUM, CHROMIUM_OPTIONS, PATIENCE_MS
from tests.environment import clean_environment
from tests.load.processes import stop_process, wait_until

#: RefreshQuota: without it, Chromium signs six times in nine minutes for a site.
FEATURES = (
    "DeviceBoundSessions:RequireOriginTrialTokens/false/RefreshQuota/false",
    "EnableBoundSessionCredentialsSoftwareKeysForManualTesting",
)


@contextmanager
def run_bound_chromium(plain: Browser, folder: Path, authority: Path, hosts: dict[str, int]) -> Iterator[Browser]:
    """A Chromium that trusts `authority`, and finds `hosts` at these ports of this machine.

    The test starts it: Playwright's own switches would replace the features. `folder` is its home: what the browser
    trusts is in there, and nothing else of this machine changes. `plain` is any browser of Playwright's.
    """
    _trust(authority, home=folder)
    profile = folder / "profile"
    rules = ",".join(f"MAP {name} 127.0.0.1:{port}" for name, port in hosts.items())
    with (folder / "chromium.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(CHROMIUM, "--headless=new", "--remote-debugging-port=0", f"--user-data-dir={profile}"),
                *(f"--host-resolver-rules={rules}", f"--enable-features={','.join(FEATURES)}", *CHROMIUM_OPTIONS),
                "about:blank",
            ],
            env={**clean_environment(), "HOME": str(folder)},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        port_file = profile / "DevToolsActivePort"
        wait_until(lambda: port_file.exists() and "\n" in port_file.read_text(), "Chromium listens")
        port = port_file.read_text().splitlines()[0]
        browser = plain.browser_type.connect_over_cdp(f"http://127.0.0.1:{port}", timeout=PATIENCE_MS)
        yield browser
        browser.close()
    finally:
        stop_process(process)


def _trust(authority: Path, *, home: Path) -> None:
    database = home / ".pki/nssdb"
    database.mkdir(parents=True)
    for arguments in (["-N", "--empty-password"], ["-A", "-n", "Test CA", "-t", "C,,", "-i", str(authority)]):
        subprocess.run(["certutil", "-d", f"sql:{database}", *arguments], check=True, capture_output=True)


class DeviceEvents:
    """What a tab is told of bound sessions: each session that was added, and each creation, challenge and refresh."""

    def __init__(self, context: BrowserContext, page: Page) -> None:
        self.added: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self._devtools: CDPSession = context.new_cdp_session(page)
        self._devtools.on("Network.deviceBoundSessionsAdded", self._note_added)
        self._devtools.on("Network.deviceBoundSessionEventOccurred", self._note_event)
        self._devtools.send("Network.enable")
        self._devtools.send("Network.enableDeviceBoundSessions", {"enable": True})

    def kinds(self) -> list[str]:
        """What has succeeded, in order: creation, challenge, refresh."""
        suffix = "EventDetails"
        return [
            name.removesuffix(suffix)
            for event in self.events
            for name in event
            if name.endswith(suffix) and event["succeeded"]
        ]

    def _note_added(self, event: dict[str, Any]) -> None:
        self.added.append(event)

    def _note_event(self, event: dict[str, Any]) -> None:
        self.events.append(event)
