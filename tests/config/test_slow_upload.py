"""A request whose body arrives slowly, through the recipe's nginx, while another tab rotates and confirms."""

import http.client
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.accounts.doctor.gateway import make_certificate
from tests.config.nginx import Nginx
from tests.demo_api.server import DemoApi
from tests.load.browser import PAGE, Browser
from tests.load.site import LEEWAY_SECONDS, Site

pytestmark = pytest.mark.nginx

NAME = "session"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "db.sqlite3"


@pytest.fixture
def api() -> Iterator[DemoApi]:
    with DemoApi(access_ttl=300) as api:
        yield api


@pytest.fixture
def site(api: DemoApi, database: Path) -> Iterator[Site]:
    if missing := Nginx.missing():
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    environment = {
        "SECURE_SSL_REDIRECT": "true",
        "API_SESSION_COOKIE_SECURE": "true",
        "API_SESSION_COOKIE_NAME": NAME,
        "TRUSTED_PROXY_COUNT": "1",
    }
    url = f"sqlite:///{database}"
    site = Site(database_url=url, api_url=api.url, workers=1, threads=4, environment=environment)
    site.migrate()
    with site:
        yield site


@pytest.fixture
def nginx(site: Site, tmp_path: Path) -> Nginx:
    return Nginx(site.port, make_certificate(tmp_path / "certificate.pem"))


def send_slowly(browser: Browser, api: DemoApi, database: Path, *, retired_seconds_ago: float) -> tuple[int, list[str]]:
    """The status and the cookies of a request that began with the cookie of before a rotation."""
    with closing(browser.connect(browser.port)) as connection:
        assert isinstance(connection, http.client.HTTPSConnection)
        connection.putrequest("GET", PAGE)
        connection.putheader("Cookie", browser.jar.header())
        connection.putheader("X-Request-Waited", "0 0")
        connection.putheader("Content-Length", "2")
        connection.endheaders(b"a")
        api.expire_access_tokens()
        assert [browser.open().status for _ in range(2)] == [200, 200]
        time.sleep(LEEWAY_SECONDS + 0.5)
        move_retirement_back(database, retired_seconds_ago)
        connection.send(b"b")
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers.get_all("Set-Cookie") or []


def move_retirement_back(database: Path, seconds: float) -> None:
    """As if the record had been confirmed so much earlier, by the database's clock and the host's."""
    with closing(sqlite3.connect(database, timeout=30, isolation_level=None)) as connection:
        [(retired, host_times)] = connection.execute("SELECT retired, retired_host_times FROM accounts_sessionrecord")
        earlier = [[generation, at - seconds] for generation, at in json.loads(retired)]
        hosts = {
            generation: [boot_id, monotonic - seconds, time_of_day - seconds]
            for generation, (boot_id, monotonic, time_of_day) in json.loads(host_times).items()
        }
        statement = "UPDATE accounts_sessionrecord SET retired = ?, retired_host_times = ?"
        connection.execute(statement, [json.dumps(earlier), json.dumps(hosts)])


def test_it_is_no_copied_cookie_although_the_grace_period_is_over(
    nginx: Nginx, site: Site, api: DemoApi, database: Path
) -> None:
    with nginx:
        browser = Browser(nginx.port, tls=nginx.tls)
        browser.sign_in()

        status, _ = send_slowly(browser, api, database, retired_seconds_ago=0)

        assert status == 200
        assert browser.open().status == 200
    assert "used again" not in site.log
    assert api.reuses == 0


def test_one_that_took_many_minutes_may_fail_but_the_session_stays(
    nginx: Nginx, site: Site, api: DemoApi, database: Path
) -> None:
    # nginx says a thousand seconds more than it took.
    nginx.places['"$request_time $msec"'] = '"100$request_time $msec"'
    with nginx:
        browser = Browser(nginx.port, tls=nginx.tls)
        browser.sign_in()

        status, cookies = send_slowly(browser, api, database, retired_seconds_ago=500)

        assert status == 503
        assert not any(cookie.startswith(NAME) for cookie in cookies)
        assert browser.open().status == 200
    assert "used again" not in site.log
    assert api.reuses == 0
