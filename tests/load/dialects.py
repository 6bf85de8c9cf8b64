"""The demo API's dialect, where that API is started with a grace period."""

from accounts.dialects.token_pair import TokenPairDialect


class GraceDialect(TokenPairDialect):
    """A refresh token that was just spent may be sent again, and yields the same pair: an answer can get lost."""

    replay_is_safe = True
