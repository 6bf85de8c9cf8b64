"""Dialects for APIs that are started with a grace period."""

from accounts.dialects.oauth2 import OAuth2Dialect
from accounts.dialects.token_pair import TokenPairDialect


class GraceDialect(TokenPairDialect):
    """A refresh token that was just spent may be sent again, and yields the same pair: an answer can get lost."""

    replay_is_safe = True


class GraceOAuth2Dialect(OAuth2Dialect):
    """The same at a provider, as long as the next pair has not been refreshed itself."""

    replay_is_safe = True
