"""The dialect in the documents, as it stands there, against a live API of its kind: the contract, and the site."""

import json
import re
import secrets
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest
from pytest_django import Settings

from accounts.dialects.base import Dialect
from accounts.dialects.testing import DialectContract
from tests.browsers import Browser

USER, PASSWORD = "ada", "tide-table"
ROUTE = "/protected-route"


@pytest.fixture(scope="module")
def shop() -> Iterator[str]:
    """The shop's API on a free port."""
    server = Shop(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class Shop(ThreadingHTTPServer):
    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.keys: dict[str, str] = {}
        """The access token of each refresh token."""

    def issue(self) -> dict[str, object]:
        key, renew = secrets.token_urlsafe(), secrets.token_urlsafe()
        self.keys[renew] = key
        return {"key": key, "renew": renew, "ttl": 60}


class Handler(BaseHTTPRequestHandler):
    server: Shop

    def do_GET(self) -> None:
        key = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if key in self.server.keys.values():
            self.answer(200, {"data": [{"station": "Old Harbour"}]})
        else:
            self.answer(401, {"error": "no such key"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/sessions":
            if (body["login"], body["secret"]) == (USER, PASSWORD):
                self.answer(200, {"customer": {"id": 7, "name": "Ada"}, **self.server.issue()})
            else:
                self.answer(403, {"error": "Name and secret do not match."})
        elif self.server.keys.pop(body["token"], None) is None:
            self.answer(409, {"error": "gone"})
        else:
            self.answer(200, self.server.issue() if self.path == "/sessions/renew" else {})

    def answer(self, status: int, body: object) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


def shop_module() -> ModuleType:
    """The module `shop_dialect.py` of the documents."""
    project = Path(__file__).resolve().parents[3]
    text = "".join(path.read_text() for path in [project / "README.md", *project.glob("accounts/**/README.md")])
    [source] = [code for code in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S) if "class ShopDialect" in code]
    module = ModuleType("shop_dialect")
    exec(source, module.__dict__)  # noqa: S102  # our own document
    return module


class TestShop(DialectContract):
    username, password, protected_path = USER, PASSWORD, ROUTE

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def serve(cls, shop: str) -> None:
        dialect: Dialect = shop_module().ShopDialect()
        cls.dialect, cls.base_url = dialect, shop


def test_the_site_signs_in_and_renews_with_it(
    shop: str, settings: Settings, monkeypatch: pytest.MonkeyPatch, transactional_db: None
) -> None:
    monkeypatch.setitem(sys.modules, "shop_dialect", shop_module())
    settings.API_BASE_URL, settings.API_DIALECT = shop, "shop_dialect.ShopDialect"
    browser = Browser()

    assert "do not match" in browser.sign_in(USER, "wrong").text
    assert browser.sign_in(USER, PASSWORD).status_code == 302
    browser.age(60)

    assert browser.open_page().status_code == 200
    assert browser.session().generation == 1
    assert browser.session().user.name == "Ada"
    browser.sign_out()
    assert not browser.is_signed_in()
