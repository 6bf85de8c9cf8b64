"""Django's own sessions: which cookies are looked up in the database."""

import pytest
from django.test import Client

from config.sessions import SessionStore


@pytest.mark.parametrize("key", ["\0aaaaaaaaaa", "a" * 8 + "\0", "\xe9" * 10, "aaaa aaaa", "short", "", None], ids=repr)
def test_a_key_that_django_has_not_made_is_none(key: str | None) -> None:
    """PostgreSQL refuses to look for a NUL, which a cookie can spell in ASCII: "\\\\000"."""
    assert SessionStore(key).session_key is None


@pytest.mark.django_db
def test_one_that_it_has_made_is_one() -> None:
    store = SessionStore()
    store["name"] = "Ada"
    store.save()

    assert SessionStore(store.session_key)["name"] == "Ada"


@pytest.mark.django_db
def test_the_admin_sends_whoever_has_another_one_to_its_sign_in() -> None:
    response = Client().get("/admin/", HTTP_COOKIE='sessionid="\\000aaaaaaaaaa"')

    assert response.status_code == 302
