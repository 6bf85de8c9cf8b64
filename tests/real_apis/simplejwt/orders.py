"""What a test can have this API do."""

import secrets
from datetime import timedelta

from django.apps import apps
from django.contrib.auth import get_user_model
from rest_framework_simplejwt import state
from rest_framework_simplejwt.backends import TokenBackend
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

from tests.real_apis import serving
from tests.real_apis.simplejwt import tokens


def prepare() -> None:
    serving.make_users()


def set_access_ttl(seconds: float) -> None:
    tokens.AccessToken.lifetime = timedelta(seconds=seconds)


def set_active(email: str, active: bool) -> None:
    get_user_model().objects.filter(email=email).update(is_active=active)


def delete(email: str) -> None:
    get_user_model().objects.get(email=email).delete()


def expire_access_tokens() -> None:
    tokens.expired |= tokens.issued


def revoke_all() -> None:
    """Put every refresh token on the blacklist; without one, all that the library leaves is a new signing key."""
    expire_access_tokens()
    if apps.is_installed("rest_framework_simplejwt.token_blacklist"):
        for token in OutstandingToken._default_manager.filter(blacklistedtoken=None):
            BlacklistedToken._default_manager.get_or_create(token=token)
    else:
        state.token_backend = TokenBackend(api_settings.ALGORITHM, secrets.token_urlsafe(64))
