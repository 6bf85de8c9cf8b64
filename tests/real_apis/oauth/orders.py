"""What a test can have the provider do."""

import hashlib

from django.utils import timezone
from oauth2_provider.models import AccessToken, Application, RefreshToken
from oauth2_provider.settings import oauth2_settings

from tests.real_apis import serving
from tests.real_apis.oauth.client import CLIENT_ID, CLIENT_SECRET
from tests.real_apis.oauth.keys import make_signing_key


def prepare(*, skip_consent: bool) -> None:
    serving.make_users()
    Application.objects.create(
        name="The site",
        client_id=CLIENT_ID,
        client_secret=CLIENT_SECRET,
        client_type=Application.CLIENT_CONFIDENTIAL,
        authorization_grant_type=Application.GRANT_AUTHORIZATION_CODE,
        algorithm=Application.RS256_ALGORITHM,
        skip_authorization=skip_consent,
    )


def register_redirects(redirect_uris: list[str], post_logout_redirect_uris: list[str]) -> None:
    """Allow these too."""
    application = Application.objects.get()
    application.redirect_uris = _with(application.redirect_uris, redirect_uris)
    application.post_logout_redirect_uris = _with(application.post_logout_redirect_uris, post_logout_redirect_uris)
    application.save()


def set_access_ttl(seconds: int) -> None:
    oauth2_settings.ACCESS_TOKEN_EXPIRE_SECONDS = seconds
    # Else the views go on with the life of their first token.
    oauth2_settings.ALWAYS_RELOAD_OAUTHLIB_CORE = True


def set_grace(seconds: int) -> None:
    oauth2_settings.REFRESH_TOKEN_GRACE_PERIOD_SECONDS = seconds


def expire_access_tokens() -> None:
    AccessToken.objects.update(expires=timezone.now())


def revoke_all() -> None:
    for token in RefreshToken.objects.filter(revoked=None):
        token.revoke()


def revoke_refresh_token(token: str) -> None:
    """What the action of the provider's admin does, which takes the access token along."""
    RefreshToken.objects.get(token_checksum=hashlib.sha256(token.encode()).hexdigest(), revoked=None).revoke()


def rotate_signing_key(keep_old: bool) -> None:
    """ID tokens are signed with a new key. The old one is still published, or gone."""
    old = oauth2_settings.OIDC_RSA_PRIVATE_KEY
    inactive = [old, *oauth2_settings.OIDC_RSA_PRIVATE_KEYS_INACTIVE] if keep_old else []
    # Setting by setting, not by a reload, which other threads would see half done.
    oauth2_settings.OIDC_RSA_PRIVATE_KEYS_INACTIVE = inactive
    oauth2_settings.OIDC_RSA_PRIVATE_KEY = make_signing_key()


def _with(known: str, more: list[str]) -> str:
    """A list as the library keeps it, with those that are not in it yet."""
    return " ".join(dict.fromkeys([*known.split(), *more]))
