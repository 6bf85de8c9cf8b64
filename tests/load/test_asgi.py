"""Views that are `async def`, in a real ASGI server with many users at once."""

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import jwt
import pytest

from tests.demo_api.messages import Request
from tests.demo_api.server import DEMO_USERS, DemoApi, Fault, Gate
from tests.load.browser import PATIENCE_SECONDS, Browser
from tests.load.processes import wait_until
from tests.load.site import Site
from tests.protected.sockets.raw_requests import opened, read_to

USERS = [f"user{number}@example.com" for number in range(50)]


class Uvicorn(Site):
    def __init__(self, *, database_url: str, api_url: str) -> None:
        # It has no worker processes.
        super().__init__(database_url=database_url, api_url=api_url, workers=0)

    def command(self) -> list[str]:
        server = ["uvicorn", "--host", "127.0.0.1", "--port", str(self.port), "--no-access-log", "--lifespan", "off"]
        return [sys.executable, "-m", *server, "tests.load.asgi:application"]

    @property
    def server_pid(self) -> int:
        """The process that runs the views."""
        return self.pid


class Granian(Site):
    def __init__(self, *, database_url: str, api_url: str) -> None:
        super().__init__(database_url=database_url, api_url=api_url, workers=1)

    def command(self) -> list[str]:
        server = ["granian", "--host", "127.0.0.1", "--port", str(self.port), "--interface", "asginl", "--no-ws"]
        return [sys.executable, "-m", *server, "tests.load.asgi:application"]

    @property
    def server_pid(self) -> int:
        return self.workers[0]


def me(request: Request) -> dict[str, str]:
    """Whose access token it is, and the id of the request."""
    token = request.headers["authorization"].removeprefix("Bearer ")
    email: str = jwt.decode(token, options={"verify_signature": False})["user"]["email"]
    return {"email": email, "request_id": request.headers["x-request-id"]}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[DemoApi]:
    for user in USERS:
        monkeypatch.setitem(DEMO_USERS, user, "open-sesame")
    with DemoApi(access_ttl=3600, routes={("GET", "/me"): me}) as api:
        yield api


@pytest.fixture
def site(request: pytest.FixtureRequest, api: DemoApi, tmp_path: Path) -> Iterator[Uvicorn | Granian]:
    site: Uvicorn | Granian = request.param(database_url=f"sqlite:///{tmp_path / 'site.sqlite3'}", api_url=api.url)
    site.migrate()
    with site:
        yield site


@pytest.mark.storm
@pytest.mark.parametrize(("site", "users"), [(Uvicorn, USERS), (Granian, USERS[:5])], indirect=["site"])
def test_many_users_at_once(site: Uvicorn | Granian, api: DemoApi, users: list[str]) -> None:
    """Each has three tabs, and gets only their own data, also while all tokens expire. A closed tab loses nothing."""
    browsers = {user: Browser(site.port) for user in users}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda user: browsers[user].sign_in(user), users))
    for generation in (1, 2):
        api.expire_access_tokens()
        tabs = [(user, browser.open_tab("/whoami/")) for user, browser in browsers.items() for _ in range(3)]
        for user, tab in tabs:
            answer = tab.answer()
            assert answer.status == 200, answer
            assert answer.json() == {"names": [user] * 4, "ids": [answer.header("X-Request-ID")] * 2}
        assert api.count("POST", "/auth/refresh") == len(users) * generation

    with Gate() as gate:
        api.expire_access_tokens()
        api.fail("POST", "/auth/refresh", Fault.hold_after(gate))
        tab = browsers[users[0]].open_tab("/whoami/", receives=False)
        assert gate.reached.wait(PATIENCE_SECONDS)
        tab.close()
        assert browsers[users[1]].open("/whoami/").status == 200  # nobody else waits
    assert browsers[users[0]].open("/whoami/").status == 200
    assert api.count("POST", "/auth/refresh") == len(users) * 2 + 2
    assert api.reuses == 0

    api.expire_access_tokens()
    for path, mark in (("/protected/events/", b"event: session-update"), ("/protected/stream/", b"<session-update ")):
        with opened(browsers[users[0]], f"{path}?rows=500&delay=0.2") as stream:
            read_to(stream, mark)  # the first pieces arrive long before the last one

    wait_until(lambda: open_databases(site) <= 4, "the threads have closed their connections")


def open_databases(site: Uvicorn | Granian) -> int:
    count = 0
    for descriptor in Path(f"/proc/{site.server_pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            count += os.readlink(descriptor).endswith("site.sqlite3")
    return count
