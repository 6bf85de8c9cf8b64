"""What a load balancer asks: is this process alive, and can it serve?"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection
from django.http import HttpResponse
from pytest_django import Settings

from tests.browsers import Browser
from tests.demo_api.server import DemoApi


@pytest.fixture
def without_database(transactional_db: None, tmp_path: Path) -> Iterator[None]:
    """The database's file lies where there is nothing."""
    there = connection.settings_dict["NAME"]
    connection.close()
    connection.settings_dict["NAME"] = tmp_path / "nowhere" / "db.sqlite3"
    yield
    connection.close()
    connection.settings_dict["NAME"] = there


def ask(path: str) -> HttpResponse:
    return Browser().get(path)


def test_alive_while_the_process_answers() -> None:
    # Without a mark for the database: any query fails this test.
    response = ask("/health/live")

    assert response.status_code == 200
    assert response.content == b'{"status": "ok"}'


@pytest.mark.django_db
def test_ready_while_the_database_answers() -> None:
    response = ask("/health/ready")

    assert response.status_code == 200
    assert response.content == b'{"status": "ok"}'


@pytest.mark.usefixtures("without_database")
def test_without_database_it_is_alive_and_not_ready(caplog: pytest.LogCaptureFixture) -> None:
    assert ask("/health/live").status_code == 200

    response = ask("/health/ready")

    assert response.status_code == 503
    assert response.content == b'{"status": "database unavailable"}'
    assert "the database does not answer: OperationalError" in caplog.text


def test_it_is_ready_again_when_the_database_is_back(transactional_db: None, tmp_path: Path) -> None:
    there = connection.settings_dict["NAME"]
    connection.close()
    try:
        connection.settings_dict["NAME"] = tmp_path / "nowhere" / "db.sqlite3"
        assert ask("/health/ready").status_code == 503
    finally:
        connection.settings_dict["NAME"] = there

    assert ask("/health/ready").status_code == 200


@pytest.mark.django_db
def test_a_sick_api_is_no_reason_to_leave(api: DemoApi) -> None:
    api.stop_serving()

    assert ask("/health/ready").status_code == 200
    assert api.calls == []


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
class TestBoth:
    def test_no_cache_answers_for_them(self, path: str) -> None:
        assert ask(path)["Cache-Control"] == "no-store"

    def test_they_do_not_look_at_the_session(self, path: str) -> None:
        response = Browser({"session": "nonsense"}).get(path)

        assert not response.has_header("Vary")
        assert not response.cookies

    def test_they_answer_over_plain_http_in_production(self, path: str, settings: Settings) -> None:
        settings.SECURE_SSL_REDIRECT = True

        assert ask(path).status_code == 200
        assert ask("/").status_code == 301

    def test_the_host_that_is_asked_for_does_not_matter(self, path: str, settings: Settings) -> None:
        # Load balancers ask each machine by its address, which nobody lists in ALLOWED_HOSTS.
        settings.ALLOWED_HOSTS = ["www.example.com"]

        assert Browser().get(path, headers={"host": "10.0.0.7:8000"}).status_code == 200
        assert Browser().get("/", headers={"host": "10.0.0.7:8000"}).status_code == 400

    def test_head_will_do(self, path: str) -> None:
        assert Browser().client.head(path).status_code == 200
