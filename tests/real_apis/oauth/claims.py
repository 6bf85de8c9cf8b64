"""What ID tokens and the userinfo endpoint say about a user, besides `sub`."""

from collections.abc import Callable
from typing import Any

from oauth2_provider.oauth2_validators import OAuth2Validator


class Validator(OAuth2Validator):  # type: ignore[misc]  # the library ships no types
    def get_additional_claims(self) -> dict[str, Callable[[Any], str]]:
        """Each for those to whom its scope was granted: `name` belongs to `profile`."""
        return {
            "name": lambda request: request.user.get_full_name(),
            "email": lambda request: request.user.email,
        }
