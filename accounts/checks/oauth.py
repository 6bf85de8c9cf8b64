"""System checks of what the oauth2 dialects are told: the client, the provider and its endpoints."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, Tags, Warning, register

from accounts.checks.settings import address_of, is_in_the_clear, usable_dialect
from accounts.conf import conf
from accounts.dialects.base import PasswordDialect
from accounts.dialects.oauth2 import OAuth2Dialect, OAuth2PasswordDialect


@register()
def check_oauth(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if not isinstance(usable_dialect(), OAuth2Dialect):
        return []
    messages: list[CheckMessage] = []
    if not conf.oauth_client_id:
        messages.append(
            Error(
                "OAUTH_CLIENT_ID is not set.",
                hint="It is what the provider gave you when you registered this site there.",
                id="accounts.E012",
            )
        )
    if (conf.oauth_issuer or _needs_issuer()) and address_of(conf.oauth_issuer) is None:
        messages.append(
            Error(
                "OAUTH_ISSUER is no issuer.",
                hint=(
                    "It looks like https://login.example.com/realms/main: no user, no query, no fragment. Only with "
                    "OAUTH_AUTHORIZATION_ENDPOINT and OAUTH_TOKEN_ENDPOINT set, and no openid in OAUTH_SCOPE, it may "
                    "be left out."
                ),
                id="accounts.E013",
            )
        )
    messages += [
        Error(
            f"The provider's {name} is no address.",
            hint=f"Set OAUTH_{name.upper()} to a whole URL, or leave it to the discovery document.",
            id="accounts.E014",
        )
        for name, url in conf.oauth_endpoints.items()
        if address_of(url, may_have_query=True) is None
    ]
    if conf.oauth_client_auth not in ("", "client_secret_basic", "client_secret_post"):
        messages.append(
            Error(
                f"OAUTH_CLIENT_AUTH is {conf.oauth_client_auth!r}.",
                hint="Use client_secret_basic or client_secret_post, or leave it empty for what the provider offers.",
                id="accounts.E015",
            )
        )
    if conf.cookie_samesite == "Strict" and not isinstance(usable_dialect(), PasswordDialect):
        messages.append(
            Error(
                "API_SESSION_COOKIE_SAMESITE is Strict, and people come back from the provider, which is another site.",
                hint="Use Lax: with Strict, a browser does not send the session that it has just been given.",
                id="accounts.E016",
            )
        )
    return messages


@register(Tags.security, deploy=True)
def check_oauth_security(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if not isinstance(usable_dialect(), OAuth2Dialect):
        return []
    messages: list[CheckMessage] = []
    addresses = [address_of(url, may_have_query=True) for url in (conf.oauth_issuer, *conf.oauth_endpoints.values())]
    if any(is_in_the_clear(url) for url in addresses):
        messages.append(
            Warning(
                "The provider is not https: codes, tokens and the client's secret cross the network in the clear.",
                hint="Use https for OAUTH_ISSUER and every endpoint.",
                id="accounts.W002",
            )
        )
    if not conf.oauth_client_secret:
        messages.append(
            Warning(
                "OAUTH_CLIENT_SECRET is not set, so whoever gets hold of a refresh token can use it.",
                hint="Register this site as a confidential client: its secret stays on the server.",
                id="accounts.W003",
            )
        )
    if isinstance(usable_dialect(), OAuth2PasswordDialect):
        messages.append(
            Warning(
                "API_DIALECT is oauth2-password: the provider's passwords pass through this site.",
                hint="Use oauth2. RFC 9700 section 2.4 forbids the password grant.",
                id="accounts.W004",
            )
        )
    return messages


def _needs_issuer() -> bool:
    """Whether something can be learned only from the issuer: endpoints, or who signs ID tokens."""
    if isinstance(usable_dialect(), OAuth2PasswordDialect):
        return "token_endpoint" not in conf.oauth_endpoints
    known = {"authorization_endpoint", "token_endpoint"} <= conf.oauth_endpoints.keys()
    return not known or "openid" in conf.oauth_scope.split()
