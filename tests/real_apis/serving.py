"""What the programs share: a Django of their own on a new database, threads, and a pipe for the orders of a test."""

import json
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from socketserver import TCPServer
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import django
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application

from tests.demo_api.users import DEMO_USERS


def run(
    program: str, port: int, *, apps: list[str], preparation: Mapping[str, Any] | None = None, **special: Any
) -> None:
    """
    Serve until standard input ends.

    `program` is a package with the modules `urls` and `orders`; `preparation` goes to `prepare` of the latter, which
    fills the new database. `special` are Django settings. The first line of output is JSON and says the port (0 takes a
    free one). Each line of input is an order, `[name, argument, ...]`: it calls that function of `orders`, and the line
    that follows is what it returned.
    """
    with TemporaryDirectory(prefix="real-api-", ignore_cleanup_errors=True) as folder, suppress(KeyboardInterrupt):
        _configure(Path(folder) / "db.sqlite3", apps=apps, ROOT_URLCONF=f"{program}.urls", **special)
        call_command("migrate", run_syncdb=True, verbosity=0)
        orders = import_module(f"{program}.orders")
        orders.prepare(**(preparation or {}))
        with _serving(port) as server:
            _say({"port": server.server_port})
            for line in sys.stdin:
                name, *arguments = json.loads(line)
                _say(getattr(orders, name)(*arguments))


def make_users() -> None:
    """Those of the demo API: the user name is the e-mail address."""
    for email, password in DEMO_USERS.items():
        name = email.partition("@")[0].title()
        get_user_model().objects.create_user(username=email, email=email, password=password, first_name=name)


class ApiServer(ThreadedWSGIServer):
    """Django's own, for many connections at once."""

    request_queue_size = 256

    def server_bind(self) -> None:
        """Without asking the name service who we are, which can take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]
        self.setup_environ()


class QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Silent: a request line holds codes and tokens."""


@contextmanager
def _serving(port: int) -> Iterator[ApiServer]:
    server = ApiServer(("127.0.0.1", port), QuietHandler)
    server.set_app(get_wsgi_application())
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def _configure(database: Path, *, apps: list[str], **special: Any) -> None:
    settings.configure(
        SECRET_KEY=secrets.token_urlsafe(64),
        ALLOWED_HOSTS=["*"],
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", *apps],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": database,
                "OPTIONS": {
                    "timeout": 60,  # seconds; twenty may write at once
                    "transaction_mode": "IMMEDIATE",
                    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;",
                },
            }
        },
        # The tables as they are now, not as they came to be: the libraries have dozens of migrations.
        MIGRATION_MODULES=_NoMigrations(),
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],  # quick: nobody attacks this one
        USE_TZ=True,
        LOGGING={
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {"console": {"class": "logging.StreamHandler", "level": "ERROR"}},
            "root": {"handlers": ["console"]},
        },
        **special,
    )
    django.setup()


class _NoMigrations(dict[str, None]):
    """For every app: none."""

    def __contains__(self, app: object) -> bool:
        return True

    def __missing__(self, app: str) -> None:
        return None


def _say(value: Any) -> None:
    print(json.dumps(value), flush=True)
