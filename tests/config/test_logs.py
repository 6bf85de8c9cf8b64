"""No log has the query of a request, or of a call to the API."""

import http.client
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from django.http import HttpRequest
from django.test import RequestFactory

from config import logs
from config.charset import Utf8WSGIRequest
from config.logs import JsonLineFormatter, OnceAMinuteFilter, without_queries
from tests.demo_api.server import DemoApi, Fault
from tests.load.browser import Browser
from tests.load.site import Site

SECRET = "barnacle-and-bowline"
QUERY = f"?code={SECRET}&state={SECRET}"


class SiteWithAccessLog(Site):
    def command(self) -> list[str]:
        changed = {"config.wsgi": "tests.config.breakable_site"}
        return [*(changed.get(part, part) for part in super().command()), "--access-logfile", "-"]


class Runserver(Site):
    def command(self) -> list[str]:
        return [sys.executable, "manage.py", "runserver", "--noreload", str(self.port)]


def ask(site: Site, path: str, method: str = "GET", **headers: str) -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", site.port, timeout=30)) as connection:
        connection.request(method, path, headers={"Referer": f"http://127.0.0.1/{QUERY}", **headers})
        return connection.getresponse().status


@pytest.fixture(params=["gunicorn, json", "runserver, line"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Site, DemoApi]]:
    server, log_format = request.param.split(", ")
    is_runserver = server == "runserver"
    with DemoApi(access_ttl=3600) as api:
        site = (Runserver if is_runserver else SiteWithAccessLog)(
            database_url=f"sqlite:///{tmp_path}/db.sqlite3",
            api_url=api.url,
            workers=0 if is_runserver else 1,
            environment={"LOG_FORMAT": log_format, "DEBUG": "true" if is_runserver else "false"},
        )
        site.migrate()
        with site:
            yield site, api


def test_no_line_has_a_query(site: tuple[Site, DemoApi]) -> None:
    running, api = site
    browser = Browser(running.port)
    browser.sign_in()
    assert ask(running, f"/nowhere/{QUERY}") == 404
    assert ask(running, f"/accounts/callback/{QUERY}") == 404
    assert ask(running, f"/accounts/login/{QUERY}", "POST") == 403
    assert ask(running, f"/{QUERY}", Host="elsewhere.example") == 400
    assert ask(running, f"/protected/script/{QUERY}", "PUT", Cookie=browser.jar.header()) == 403
    api.fail("GET", "/protected-route", Fault.reset(), times=10)
    assert browser.open(f"/protected/api/protected-route{QUERY}").status == 503
    assert browser.open(f"/protected/{QUERY}").status == 503
    api.heal()
    api.fail("GET", "/protected-route", Fault.answer(200, b"no JSON"))
    assert browser.open(f"/protected/{QUERY}").status == 502
    if isinstance(running, SiteWithAccessLog):
        assert ask(running, f"/broken/{QUERY}") == 500
        assert "Error handling request GET /broken/" in running.log

    assert "/nowhere/" in running.log
    assert SECRET not in running.log


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Not Found: /nowhere/", "Not Found: /nowhere/"),
        (f'"GET /accounts/callback/{QUERY} HTTP/1.1" 404', '"GET /accounts/callback/ HTTP/1.1" 404'),
        (f"url: https://api.example.com/v1{QUERY} (Caused by", "url: https://api.example.com/v1 (Caused by"),
        (f"two: /a?{SECRET}\t/b?{SECRET}\n/c?{SECRET}", "two: /a\t/b\n/c"),
        (f"/quotes?a='{SECRET}\"{SECRET}\\{SECRET}\u00a0{SECRET}", "/quotes"),
        (f"?code={SECRET}", ""),
        ("why? because", "why? because"),
    ],
)
def test_queries_are_cut_off(text: str, shown: str) -> None:
    assert without_queries(text) == shown


def test_a_long_path_takes_no_time() -> None:
    assert len(without_queries("/" * 1_000_000 + "?x")) == 1_000_000


def test_json_keeps_the_other_fields() -> None:
    record = logging.makeLogRecord({"msg": "%s", "args": (f"/a{QUERY}",), "levelname": "INFO", "status_code": 404})
    record.request = RequestFactory().get(f"/a'b/{QUERY}")
    try:
        raise ValueError(f"no such address: /a{QUERY}")
    except ValueError:
        record.exc_info = sys.exc_info()

    line = json.loads(JsonLineFormatter().format(record))

    assert line["message"] == "/a"
    assert line["status_code"] == 404
    assert line["request"] == '<WSGIRequest: GET "/a\'b/">'
    assert "ValueError: no such address: /a" in line["exc_info"]
    assert SECRET not in repr(line)


def test_a_request_does_not_show_its_query() -> None:
    request: HttpRequest = Utf8WSGIRequest(RequestFactory().get(f"/a/{QUERY}").environ)

    assert repr(request) == "<Utf8WSGIRequest: GET '/a/'>"


def test_a_kind_of_message_passes_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = OnceAMinuteFilter().filter
    refused, lost = [logging.makeLogRecord({"msg": text, "args": ("a port",)}) for text in ("refused: %s", "lost: %s")]

    assert [passes(record) for record in (refused, lost, refused, lost)] == [True, True, False, False]
    monkeypatch.setattr(logs, "_MINUTE_SECONDS", 0)
    assert passes(refused)
