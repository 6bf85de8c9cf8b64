"""What the fuzz tests share: an API that says anything, and a log that is read for secrets and kept nowhere."""

import logging
from collections.abc import Iterator

import pytest
from pytest_django import Settings

from tests.fuzz.raw_api import RawApi, raw_api, said
from tests.fuzz.visitors import METRICS_TOKEN, NEW_PAIR, SECRETS
from tests.load.browser import Browser as Person
from tests.load.site import Site
from tests.plugin import SIGN_IN_LIMITS

THREADS = 4


@pytest.fixture(scope="module")
def served() -> Iterator[RawApi]:
    with raw_api() as api:
        yield api


@pytest.fixture
def api(served: RawApi, settings: Settings, db: None) -> RawApi:
    """The API behind the site. What a test stores is in a transaction of the test's, which saves the disk's time."""
    settings.API_BASE_URL = served.url
    for limit in SIGN_IN_LIMITS:  # all that is tried here comes from one address, and nobody would get any further
        setattr(settings, limit, "")
    settings.METRICS_TOKEN = METRICS_TOKEN
    settings.API_PROXY_ALLOW = "GET /protected-route, POST /protected-route, DELETE /protected-route"
    return served


class _Watch(logging.Handler):
    """Reads what goes to the log. Thousands of examples would fill the memory with it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        self.found += [text for secret in SECRETS if secret in text]


@pytest.fixture(autouse=True)
def log() -> Iterator[None]:
    """Fails where the log has a secret."""
    root, watch = logging.getLogger(), _Watch()
    handlers, root.handlers = root.handlers, [watch]
    try:
        yield
    finally:
        root.handlers = handlers
    assert not watch.found, watch.found[0]


@pytest.fixture(scope="session")
def behind() -> Iterator[RawApi]:
    """The API behind `site`."""
    with raw_api() as api:
        yield api


@pytest.fixture(scope="session")
def site(behind: RawApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The site under gunicorn, for what no client library sends. One worker: its memory is the site's."""
    site = Site(
        database_url=f"sqlite:///{tmp_path_factory.mktemp('fuzz') / 'db.sqlite3'}",
        api_url=behind.url,
        workers=1,
        threads=THREADS,
        environment={
            "API_READ_TIMEOUT": "30",
            "API_PROXY_ALLOW": "GET /protected-route, POST /protected-route",
            **dict.fromkeys(SIGN_IN_LIMITS, ""),
        },
    )
    site.migrate()
    with site:
        yield site


@pytest.fixture
def person(site: Site, behind: RawApi) -> Person:
    """Ada, signed in."""
    behind.begin({"/auth/login": said(NEW_PAIR)})
    person = Person(site.port)
    person.sign_in()
    behind.begin()
    return person
