"""Uploads that the site refuses before it has read them, through nginx with the recipe."""

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.accounts.at_provider import Person
from tests.config.nginx import Nginx
from tests.config.proxy import asked

pytestmark = pytest.mark.nginx

PROXY = "/protected/api/protected-route"
UPLOADS = 10
AT_ONCE = 4
UPLOAD = bytes(10 * 1024 * 1024)


def upload_many(person: Person, path: str, headers: Mapping[str, str], *, chunked: bool = False) -> Counter[int]:
    """The statuses of several uploads at the same time."""
    sent = {"Content-Type": "application/octet-stream", "Accept": "application/json", **headers}
    if chunked:
        sent["Transfer-Encoding"] = "chunked"

    def upload(_: int) -> int:
        with asked(person, path, sent, body=UPLOAD, chunked=chunked) as response:
            response.read()
            return response.status

    with ThreadPoolExecutor(AT_ONCE) as threads:
        return Counter(threads.map(upload, range(UPLOADS)))


@pytest.fixture
def csrf_token(person: Person) -> str:
    person.open("/protected/script/")
    return person.jar.csrf_token


@pytest.mark.parametrize(
    ("path", "chunked", "status"),
    [("/nowhere/", False, 404), ("/nowhere/", True, 404), ("/accounts/login/", False, 403), (PROXY, True, 403)],
    ids=["404", "404 in chunks", "403 of Django", "403 of the proxy in chunks"],
)
def test_an_upload_that_is_refused_gets_the_status_of_the_site(
    person: Person, path: str, chunked: bool, status: int
) -> None:
    assert upload_many(person, path, {}, chunked=chunked) == {status: UPLOADS}


def test_an_upload_of_a_visitor_gets_401(person: Person, nginx: Nginx) -> None:
    visitor = Person(nginx.port, tls=nginx.tls)
    visitor.open("/accounts/login/")

    assert upload_many(visitor, PROXY, {"X-CSRFToken": visitor.jar.csrf_token, "Origin": nginx.url}) == {401: UPLOADS}


def test_an_upload_that_is_too_large_for_the_api_gets_413(person: Person, nginx: Nginx, csrf_token: str) -> None:
    assert upload_many(person, PROXY, {"X-CSRFToken": csrf_token, "Origin": nginx.url}) == {413: UPLOADS}
