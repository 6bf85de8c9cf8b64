"""A double click on *Sign in*, whose two requests reach two hosts that share a database."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.browsers import ADA
from tests.demo_api.server import DEMO_USERS, DemoApi, Fault, Gate
from tests.load.browser import Browser
from tests.load.processes import wait_until
from tests.load.site import Site

_CSRF_FIELD = re.compile(r'name="csrfmiddlewaretoken" value="(\w+)"')


def test_two_hosts_make_one_session(api: DemoApi, tmp_path: Path) -> None:
    file = tmp_path / "db.sqlite3"
    first, second = [Site(database_url=f"sqlite:///{file}", api_url=api.url, workers=1) for _ in range(2)]
    first.migrate()
    with first, second, Gate() as gate:
        browser = Browser(first.port)
        token = _CSRF_FIELD.search(browser.open("/accounts/login/").body.decode())
        assert token
        form = {"csrfmiddlewaretoken": token[1], "username": ADA, "password": DEMO_USERS[ADA]}
        api.fail("POST", "/auth/login", Fault.hold_after(gate))

        tabs = [browser.open_tab("/accounts/login/", form=form)]
        wait_until(lambda: gate.arrivals == 1, "the API is asked")
        tabs.append(browser.open_tab("/accounts/login/", form=form, port=second.port))
        gate.release()

        assert [tab.answer().status for tab in tabs] == [302, 302]
        assert api.count("POST", "/auth/login") == 1
        with closing(sqlite3.connect(file)) as database:
            assert database.execute("SELECT COUNT(*) FROM accounts_sessionrecord").fetchone() == (1,)
        assert browser.open().status == 200
