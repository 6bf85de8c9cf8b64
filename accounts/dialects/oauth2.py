"""OAuth 2.0 (RFC 6749) as a confidential client: authorization code with PKCE, refresh, revocation; OpenID Connect.

The browser signs in at the provider and comes back with a code. Passwords never come here.
"""

import base64
import hashlib
import hmac
import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit, urlunsplit

import jwt

from accounts.conf import conf
from accounts.dialects.base import (
    Dialect,
    PasswordDialect,
    RefreshOutcome,
    Refused,
    SignedIn,
    raise_for_sign_in,
    refreshed,
    unknown,
    user_from,
)
from accounts.dialects.discovery import Provider, current_provider, find_signing_key
from accounts.exceptions import ApiMisbehaved, CredentialsRefused
from accounts.session.tokens import TokenPair, User, receive_pair, unverified_claims
from accounts.text import clean_text
from accounts.upstream.calls import ApiAnswer, ApiCall

logger = logging.getLogger(__name__)

#: An ID token may be so long past its `exp`, or before its `iat`: its nonce keeps it from being used twice.
LEEWAY_SECONDS = 300

# RFC 6749 section 5.2 has 400 for it, or 401; Auth0 says 403.
_REFUSAL_STATUSES = (400, 401, 403)


class OAuth2Dialect(Dialect):
    """The provider of OAUTH_ISSUER, and every other that keeps to the standards."""

    refreshes_early = True
    replay_is_safe = False
    sign_ins_are_tied = True

    def authorization_url(self, *, redirect_uri: str, state: str, nonce: str, code_verifier: str) -> str:
        """Where the browser goes to sign in (RFC 6749 section 4.1.1, RFC 7636 section 4.3)."""
        parameters = {
            **conf.oauth_authorization_parameters,
            "response_type": "code",
            "client_id": conf.oauth_client_id,
            "redirect_uri": redirect_uri,
            "scope": conf.oauth_scope,
            "state": state,
            "code_challenge": _s256(code_verifier),
            "code_challenge_method": "S256",
        }
        if _is_openid():
            parameters["nonce"] = nonce
        url = current_provider().authorization_endpoint
        if not url:
            raise ApiMisbehaved("the provider's discovery document names no authorization endpoint")
        return _with_query(url, parameters)

    def check_issuer(self, issuer: str | None) -> None:
        """Whether the one who sent the browser back is the one we sent it to (RFC 9207). Raises ApiMisbehaved."""
        provider = current_provider()
        known = provider.issuer and (issuer is not None or provider.sends_issuer)
        if known and issuer != provider.issuer:
            raise ApiMisbehaved("the answer to a sign-in comes from another provider than the one that was asked")

    def redeem(self, code: str, *, redirect_uri: str, code_verifier: str) -> ApiCall:
        """Trade a code for tokens (RFC 6749 section 4.1.3)."""
        return _token_call(
            {
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": redirect_uri,
                "code_verifier": code_verifier,
            }
        )

    def read_redeemed(self, answer: ApiAnswer, *, nonce: str) -> SignedIn:
        """Raises CredentialsRefused for a code that is used up or too old, ApiUnavailable or ApiMisbehaved."""
        _raise_for_token(answer)
        tokens = _read_pair(answer)
        id_token = answer.json_object().get("id_token")
        if id_token is None and _is_openid():
            raise ApiMisbehaved("the provider sent no ID token, though the scope has openid")
        if id_token is None or not _is_openid():
            return SignedIn(_user(unverified_claims(tokens.access)), tokens)
        return SignedIn(_user(_verify(str(id_token), nonce)), tokens, str(id_token))

    def userinfo(self, tokens: TokenPair) -> ApiCall | None:
        """Ask who signed in; None where the provider does not tell."""
        url = current_provider().userinfo_endpoint if _is_openid() else ""
        return ApiCall(method="GET", path=url, headers={"Authorization": f"Bearer {tokens.access}"}) if url else None

    def read_userinfo(self, answer: ApiAnswer, user: User) -> User:
        """`user`, with a name if the answer has one. It has to be about the same user (OpenID Connect 5.3.2)."""
        claims = answer.json_object()
        return _user(claims) if answer.status == 200 and claims.get("sub") == user.id else user

    def is_named(self, user: User) -> bool:
        """Whether the tokens told more of a user than an id."""
        return user.name != str(user.id)

    def sign_out_url(self, *, id_token: str, return_to: str) -> str | None:
        """Where a browser ends its session at the provider (OpenID Connect RP-Initiated Logout); None for nowhere.

        Without an ID token the provider may ask its user first.
        """
        url = current_provider().end_session_endpoint
        hint = {"id_token_hint": id_token} if id_token else {}
        parameters = {**hint, "client_id": conf.oauth_client_id, "post_logout_redirect_uri": return_to}
        return _with_query(url, parameters) if url else None

    def refresh(self, tokens: TokenPair) -> ApiCall:
        return _token_call({"grant_type": "refresh_token", "refresh_token": tokens.refresh})

    def read_refresh(self, answer: ApiAnswer, tokens: TokenPair) -> RefreshOutcome:
        if answer.status == 200:
            return refreshed(lambda: _read_pair(answer, previous=tokens))
        error = answer.json_object().get("error")
        if error == "invalid_grant" and answer.status in _REFUSAL_STATUSES:
            return Refused()
        if error in ("invalid_client", "unauthorized_client"):
            # Ours to mend, and until then nobody's session is lost.
            logger.error("the provider does not accept this client: %s", error)
        return unknown(answer)

    def revoke(self, tokens: TokenPair) -> ApiCall | None:
        """RFC 7009; the provider ends the access tokens of the same grant with it, if it can."""
        url = current_provider().revocation_endpoint
        return _client_call(url, {"token": tokens.refresh, "token_type_hint": "refresh_token"}) if url else None


class OAuth2PasswordDialect(OAuth2Dialect, PasswordDialect):
    """The password grant (RFC 6749 section 4.3), for a first-party server that offers nothing else.

    RFC 9700 section 2.4 forbids it: the password passes through this site, and there can be no second factor.
    """

    username_field = "username"

    def sign_in(self, username: str, password: str) -> ApiCall:
        return _token_call(
            {"grant_type": "password", self.name_field(): username, "password": password, "scope": conf.oauth_scope}
        )

    def read_sign_in(self, answer: ApiAnswer, username: str) -> SignedIn:
        if answer.json_object().get("error") == "invalid_grant":
            raise_for_sign_in(answer, answer.message("error_description") or "Name or password are not right.")
        _raise_for_token(answer)
        tokens = _read_pair(answer)
        # Over our own connection to the token endpoint, TLS vouches for it (OpenID Connect 3.1.3.7, rule 6).
        claims = unverified_claims(answer.json_object().get("id_token") or tokens.access)
        return SignedIn(_user(claims, username), tokens)


def _is_openid() -> bool:
    return "openid" in conf.oauth_scope.split()


def _s256(code_verifier: str) -> str:
    digest = hashlib.sha256(code_verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _with_query(url: str, parameters: Mapping[str, str]) -> str:
    """An endpoint may have a query of its own, which stays (RFC 6749 section 3.1)."""
    parts = urlsplit(url)
    query = urlencode(parameters)
    return urlunsplit(parts._replace(query=f"{parts.query}&{query}" if parts.query else query))


def _token_call(form: dict[str, str]) -> ApiCall:
    return _client_call(current_provider().token_endpoint, form)


def _client_call(url: str, form: dict[str, str]) -> ApiCall:
    """A form for the provider, with who we are (RFC 6749 section 2.3.1)."""
    client_id, secret = conf.oauth_client_id, conf.oauth_client_secret
    if secret and _auth_method(current_provider()) == "client_secret_basic":
        credentials = f"{quote_plus(client_id)}:{quote_plus(secret)}"
        headers = {"Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}"}
        return ApiCall(method="POST", path=url, form=form, headers=headers)
    client = {"client_id": client_id, "client_secret": secret} if secret else {"client_id": client_id}
    return ApiCall(method="POST", path=url, form={**form, **client})


def _auth_method(provider: Provider) -> str:
    if conf.oauth_client_auth:
        return conf.oauth_client_auth
    offered = provider.token_endpoint_auth_methods
    return "client_secret_post" if "client_secret_basic" not in offered else "client_secret_basic"


def _raise_for_token(answer: ApiAnswer) -> None:
    """What an answer of the token endpoint to a sign-in means, other than tokens."""
    error = answer.json_object().get("error")
    if error == "invalid_grant":
        raise CredentialsRefused("This sign-in took too long, or was completed already.")
    if answer.status != 200 and isinstance(error, str) and answer.status < 500:
        # About us, and not for the user.
        raise ApiMisbehaved(f"the provider's token endpoint: status {answer.status}, {clean_text(error, 100)}")
    raise_for_sign_in(answer, "")


def _read_pair(answer: ApiAnswer, previous: TokenPair | None = None) -> TokenPair:
    body = answer.json_object()
    if str(body.get("token_type", "")).lower() not in ("bearer", ""):
        raise ApiMisbehaved("the provider's tokens are not of the type Bearer (RFC 6750)")
    if previous is None and "refresh_token" not in body:
        raise ApiMisbehaved("the provider sent no refresh token; it may want the scope offline_access")
    return receive_pair(
        body.get("access_token"),
        body.get("refresh_token"),
        access_expires_in=body.get("expires_in"),
        # Keycloak's 0 says that it never expires.
        refresh_expires_in=body.get("refresh_expires_in") or body.get("refresh_token_expires_in") or None,
        previous=previous,
    )


def _verify(id_token: str, nonce: str) -> dict[str, Any]:
    """The claims of an ID token that is for us, new, and signed by the provider (OpenID Connect Core 3.1.3.7)."""
    provider = current_provider()
    key = find_signing_key(provider, id_token)
    try:
        claims: dict[str, Any] = jwt.decode(
            id_token,
            key,
            algorithms=[key.algorithm_name],
            audience=conf.oauth_client_id,
            issuer=provider.issuer,
            leeway=LEEWAY_SECONDS,
            options={"require": ["iss", "sub", "aud", "exp", "iat"]},
        )
    except (jwt.InvalidTokenError, ValueError, RecursionError) as error:
        raise ApiMisbehaved(f"the provider's ID token: {type(error).__name__}") from error
    if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
        raise ApiMisbehaved("the provider's ID token is not for this sign-in: its nonce differs")
    if not claims["sub"]:
        raise ApiMisbehaved("the provider's ID token names nobody")
    if claims.get("azp", conf.oauth_client_id) != conf.oauth_client_id:
        raise ApiMisbehaved("the provider's ID token was made for another client")
    return claims


def _user(claims: Mapping[str, Any], username: str = "") -> User:
    """Standard claims of OpenID Connect (section 5.1), in the order in which people want to be named."""
    known = claims.get("name") or claims.get("preferred_username") or claims.get("email")
    return user_from({"id": claims.get("sub"), "name": known, "email": claims.get("email")}, username)
