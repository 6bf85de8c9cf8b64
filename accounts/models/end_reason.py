"""Why a session ended."""

from django.db import models


class EndReason(models.TextChoices):
    """Nothing else ends a session."""

    REFUSED = "refused", "the API refused the refresh token"
    EXPIRED = "expired", "the refresh token expired"
    SIGNED_OUT = "signed-out", "the user signed out"
    REPLACED = "replaced", "the user signed in again"
    REVOKED = "revoked", "staff ended it"
    MAX_AGE = "max-age", "it reached its maximum age"
    IDLE = "idle", "it was not used for too long"
    REUSED = "reused", "a copied cookie was used"
    ENDED_ELSEWHERE = "ended-elsewhere", "the user ended it from another browser"
    BY_PROVIDER = "by-provider", "the provider ended it"
    OTHER_USER = "other-user", "a refresh returned the tokens of another user"
