"""The real APIs as tests hold them: `with SimpleJwtApi() as api:`, `with OAuthProvider() as api:`."""

import json
from abc import abstractmethod
from typing import Literal
from urllib.parse import parse_qsl

from tests.demo_api.messages import Call, Request
from tests.real_apis.front import RealApi
from tests.real_apis.oauth.client import CLIENT_ID, CLIENT_SECRET, SCOPE


class SimpleJwtApi(RealApi):
    """
    Django REST framework with SimpleJWT. Lives are in seconds.

    `username_field` is what the login calls the user's name. Either way it is the e-mail address of a demo user.
    """

    sign_in_call = ("POST", "/token/")
    refresh_call = ("POST", "/token/refresh/")
    revoke_call = ("POST", "/token/blacklist/")
    refresh_field = "refresh"

    def __init__(
        self,
        port: int = 0,
        access_ttl: float = 60,
        refresh_ttl: float = 1800,
        *,
        rotation: bool = True,
        blacklist: bool = True,
        username_field: Literal["username", "email"] = "username",
    ) -> None:
        super().__init__(
            "tests.real_apis.simplejwt",
            *("--access-ttl", str(access_ttl), "--refresh-ttl", str(refresh_ttl)),
            *("--username-field", username_field),
            *([] if rotation else ["--no-rotation"]),
            *([] if blacklist else ["--no-blacklist"]),
            port=port,
        )
        self._username_field = username_field

    @property
    def site_environment(self) -> dict[str, str]:
        return {
            "API_BASE_URL": self.url,
            "API_DIALECT": "simplejwt",
            "API_USERNAME_FIELD": self._username_field,
        }

    def set_active(self, email: str, active: bool) -> None:
        """Whether this user may sign in, and stay so."""
        self.program.order("set_active", email, active)

    def delete(self, email: str) -> None:
        """Remove a user for good."""
        self.program.order("delete", email)

    def read_body(self, request: Call | Request) -> dict[str, str]:
        try:
            fields = json.loads(request.body)
        except ValueError:
            return {}
        return fields if isinstance(fields, dict) else {}


class AnyProvider(RealApi):
    """What the providers have in common: OAuth 2.0 with one client, and the orders about it."""

    refresh_field = "refresh_token"

    @property
    @abstractmethod
    def issuer(self) -> str:
        """The issuer identifier."""

    def register_site(self, url: str) -> None:
        """Let the site at this address sign people in, and have them sent to its home page when they sign out."""
        self.register_redirects([f"{url}/accounts/callback/"], [f"{url}/"])

    def register_redirects(self, redirect_uris: list[str], post_logout_redirect_uris: list[str]) -> None:
        """Allow these addresses to the letter, besides those that are allowed already."""
        self.program.order("register_redirects", redirect_uris, post_logout_redirect_uris)

    def revoke_refresh_token(self, token: str) -> None:
        """End one sign-in, as the provider's staff would: its living refresh token, and the access token with it."""
        self.program.order("revoke_refresh_token", token)

    def is_refresh(self, call: Call | Request) -> bool:
        return super().is_refresh(call) and self.read_body(call).get("grant_type") == "refresh_token"

    def read_body(self, request: Call | Request) -> dict[str, str]:
        return dict(parse_qsl(request.body.decode("utf-8", "replace")))


class OAuthProvider(AnyProvider):
    """
    django-oauth-toolkit as provider, under `issuer`, and an API that takes its access tokens. Lives are in seconds.

    A refresh token works once; a second use ends its family, except within `grace_seconds` of the first. With
    `consent=False` the provider never asks the user whether the site may.
    """

    sign_in_call = ("POST", "/o/token/")
    refresh_call = ("POST", "/o/token/")
    revoke_call = ("POST", "/o/revoke_token/")

    def __init__(
        self,
        port: int = 0,
        access_ttl: int = 60,
        refresh_ttl: int = 1800,
        *,
        grace_seconds: int = 0,
        consent: bool = True,
    ) -> None:
        super().__init__(
            "tests.real_apis.oauth",
            *("--access-ttl", str(access_ttl), "--refresh-ttl", str(refresh_ttl), "--grace", str(grace_seconds)),
            *("--consent", "ask" if consent else "skip"),
            port=port,
        )

    @property
    def issuer(self) -> str:
        return f"{self.url}/o"

    @property
    def site_environment(self) -> dict[str, str]:
        return {
            "API_BASE_URL": self.url,
            "API_DIALECT": "oauth2",
            "OAUTH_ISSUER": self.issuer,
            "OAUTH_CLIENT_ID": CLIENT_ID,
            "OAUTH_CLIENT_SECRET": CLIENT_SECRET,
            "OAUTH_SCOPE": SCOPE,
            # This one, its OpenID document keeps to itself.
            "OAUTH_REVOCATION_ENDPOINT": f"{self.issuer}/revoke_token/",
        }

    def set_grace(self, seconds: int) -> None:
        """How long a refresh token that is spent from now on may be sent again."""
        self.program.order("set_grace", seconds)

    def rotate_signing_key(self, *, keep_old: bool) -> None:
        """Sign ID tokens with a new key from now on; with `keep_old`, those signed with the old one can be checked."""
        self.program.order("rotate_signing_key", keep_old)
