"""Django's own sessions, which the admin alone uses: a key that Django has not made is none."""

from django.contrib.sessions.backends import db


class SessionStore(db.SessionStore):
    """A cookie can spell characters that PostgreSQL refuses to be asked for (a NUL), which would be a 500."""

    def _validate_session_key(self, key: str | None) -> bool:
        # A hook of Django's that its stubs leave out.
        valid = super()._validate_session_key(key)  # type: ignore[misc]
        return bool(valid and key and key.isascii() and key.isalnum())
