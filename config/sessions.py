"""Django's own sessions, which only the admin uses. Keys that Django cannot have made are invalid."""

from django.contrib.sessions.backends import db


class SessionStore(db.SessionStore):
    """A cookie can contain characters that PostgreSQL refuses in a query (NUL). Without this it would be a 500."""

    def _validate_session_key(self, key: str | None) -> bool:
        # A hook of Django's that its stubs leave out.
        valid = super()._validate_session_key(key)  # type: ignore[misc]
        return bool(valid and key and key.isascii() and key.isalnum())
