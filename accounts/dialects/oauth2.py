"""OAuth 2.0 (RFC 6749) as a confidential client: authorization code with PKCE, refresh, revocation; OpenID Connect.

The browser signs in at the provider and comes back with a code. This site never sees the password.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from accounts.conf import conf
from accounts.dialects import base
from accounts.dialects.authorization_urls import join_prompts, prompt_for_switch, s256, with_query
from accounts.dialects.client_authentication import client_call
from accounts.dialects.discovery import current_provider
from accounts.dialects.id_tokens import check_renewed_id_token, read_authentication, verify_id_token
from accounts.exceptions import ApiMisbehaved, CredentialsRefused, RequestRefused, WrongIssuer
from accounts.session.tokens import TokenPair, UnusablePair, User, receive_pair, unverified_claims
from accounts.upstream.calls import ApiAnswer, ApiCall
from accounts.upstream.dpop import PROOF_REFUSED

logger = logging.getLogger(__name__)

# Longer ones would not fit into an address.
_URI = re.compile(r"[!-~]{1,1000}")
# The code is spent or expired (RFC 6749 section 5.2; GitHub has a code of its own).
_CODE_REFUSALS = ("invalid_grant", "bad_verification_code")


class OAuth2Dialect(base.Dialect):
    """Any provider that follows the standards."""

    refreshes_early = True
    replay_is_safe = False
    sign_ins_are_tied = True
    #: Whether sign-ins depend on ID tokens. Then those of refreshes have to be of the same issuer, client and user.
    checks_id_tokens = True

    def authorization_url(
        self,
        *,
        redirect_uri: str,
        state: str,
        nonce: str,
        code_verifier: str,
        switch: bool = False,
        parameters: Mapping[str, str] = MappingProxyType({}),
    ) -> str:
        """The URL of the authorization request (RFC 6749 section 4.1.1, RFC 7636 section 4.3).

        With `switch`, the user gets to choose another account, although the provider may know one already.
        `parameters` are further ones of this sign-in, such as login_hint or max_age.
        """
        configured = conf.oauth_authorization_parameters
        prompt = join_prompts(configured.get("prompt", ""), parameters.get("prompt", ""))
        if switch:
            prompt = prompt_for_switch(prompt)
        request = {
            **configured,
            **parameters,
            "prompt": prompt,
            "response_type": "code",
            "client_id": conf.oauth_client_id,
            "redirect_uri": redirect_uri,
            "scope": conf.oauth_scope,
            "state": state,
            "code_challenge": s256(code_verifier),
            "code_challenge_method": "S256",
        }
        if _is_openid():
            request["nonce"] = nonce
        if not prompt:
            del request["prompt"]
        url = current_provider().authorization_endpoint
        if not url:
            raise ApiMisbehaved("the provider's discovery document names no authorization endpoint")
        return with_query(url, request)

    def push(self, url: str) -> ApiCall | None:
        """The pushed authorization request (RFC 9126) for this URL of an authorization request; None without one."""
        provider = current_provider()
        endpoint = provider.pushed_authorization_request_endpoint
        if conf.oauth_par == "never" or not (endpoint or conf.oauth_par == "always"):
            return None
        if not endpoint:
            raise ApiMisbehaved(
                "OAUTH_PAR is always, but the provider's discovery document names no "
                "pushed_authorization_request_endpoint"
            )
        own = dict(parse_qsl(urlsplit(provider.authorization_endpoint).query, keep_blank_values=True))
        query = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
        return self._client_call(endpoint, {name: value for name, value in query.items() if name not in own})

    def read_pushed(self, answer: ApiAnswer) -> str:
        """The URL that refers to the pushed request. Raises ApiUnavailable, RequestRefused or ApiMisbehaved."""
        if not base.is_success(answer) and not base.is_later(answer):
            words = answer.message("error_description")
            raise RequestRefused(f"the pushed authorization request: {base.unknown(answer).why}", words)
        base.raise_for_sign_in(answer, "")
        request_uri = answer.json_object().get("request_uri")
        if not isinstance(request_uri, str) or not _URI.fullmatch(request_uri):
            raise ApiMisbehaved("the response to the pushed authorization request has no usable request_uri")
        parameters = {"client_id": conf.oauth_client_id, "request_uri": request_uri}
        return with_query(current_provider().authorization_endpoint, parameters)

    def check_issuer(self, issuer: str | None) -> None:
        """Check that `iss` is the provider that the browser was sent to (RFC 9207). Raises WrongIssuer."""
        provider = current_provider()
        can_check = provider.issuer and (issuer is not None or provider.sends_issuer)
        if can_check and issuer != provider.issuer:
            raise WrongIssuer("the authorization response comes from another provider than the request went to")

    def redeem(self, code: str, *, redirect_uri: str, code_verifier: str, dpop_key: str = "") -> ApiCall:
        """The token request for a code (RFC 6749 section 4.1.3). With a `dpop_key`, the tokens will be bound to it."""
        return self._token_call(
            {
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": redirect_uri,
                "code_verifier": code_verifier,
            },
            dpop_key,
        )

    def read_redeemed(self, answer: ApiAnswer, *, nonce: str, dpop_key: str = "") -> base.SignedIn:
        """Raises CredentialsRefused for a code that is spent or expired, ApiUnavailable or ApiMisbehaved.

        UnusablePair, if the tokens are not bound to `dpop_key`: who sets OAUTH_DPOP wants that (RFC 9449 section 5).
        """
        _raise_for_token(answer)
        tokens = _read_pair(answer, dpop_key=dpop_key)
        if tokens.dpop_key != dpop_key:
            raise UnusablePair("OAUTH_DPOP is on, but the provider's token_type is not DPoP (RFC 9449)", tokens)
        if not _is_openid():
            return base.SignedIn(_user_from_claims(unverified_claims(tokens.access)), tokens)
        id_token = answer.json_object().get("id_token")
        try:
            if not id_token:
                raise ApiMisbehaved("the provider sent no ID token although the scope has openid")
            claims = verify_id_token(str(id_token), nonce)
        except ApiMisbehaved as error:
            raise UnusablePair(str(error), tokens) from error
        authenticated_at, acr = read_authentication(claims)
        user = replace(_user_from_claims(claims), authenticated_at=authenticated_at, acr=acr)
        return base.SignedIn(user, tokens, str(id_token), sid=claims.get("sid"))

    def userinfo(self, tokens: TokenPair) -> ApiCall | None:
        """The userinfo request; None without openid or a userinfo endpoint."""
        url = current_provider().userinfo_endpoint if _is_openid() else ""
        headers = {"Authorization": tokens.authorization}
        return ApiCall(method="GET", path=url, headers=headers, dpop_key=tokens.dpop_key) if url else None

    def read_userinfo(self, answer: ApiAnswer, user: User) -> User:
        """`user` with the claims of the response, if its `sub` is the same (OpenID Connect Core 5.3.2)."""
        claims = answer.json_object()
        if not base.is_success(answer) or not user.has_id(claims.get("sub")):
            return user
        named = _user_from_claims(claims)
        return replace(user, name=named.name, email=named.email)

    def is_named(self, user: User) -> bool:
        """Whether the tokens named the user, and not only the id."""
        return user.name != str(user.id)

    def sign_out_url(self, *, id_token: str, return_to: str) -> str | None:
        """The URL that ends the session at the provider (OpenID Connect RP-Initiated Logout); None if it has none.

        Without an ID token the provider may ask the user first.
        """
        url = current_provider().end_session_endpoint
        hint = {"id_token_hint": id_token} if id_token else {}
        parameters = {**hint, "client_id": conf.oauth_client_id, "post_logout_redirect_uri": return_to}
        return with_query(url, parameters) if url else None

    def refresh(self, tokens: TokenPair) -> ApiCall:
        """The refresh request (RFC 6749 section 6), with a proof of the pair's key if it has one."""
        form = {"grant_type": "refresh_token", "refresh_token": tokens.refresh}
        return self._token_call(form, tokens.dpop_key)

    def read_refresh(self, answer: ApiAnswer, tokens: TokenPair) -> base.RefreshOutcome:
        if base.is_success(answer):
            id_token = base.text_of_token(answer.json_object().get("id_token")) if _is_openid() else ""
            claims = unverified_claims(id_token)

            def read() -> TokenPair:
                if claims and self.checks_id_tokens:
                    check_renewed_id_token(claims)
                return _read_pair(answer, previous=tokens, dpop_key=tokens.dpop_key)

            user_id = _user_from_claims(claims).id if self.checks_id_tokens else ""
            return base.refreshed(read, id_token if claims else "", user_id=user_id)
        error = base.error_code(answer)
        if error in ("invalid_client", "unauthorized_client"):
            # The operator has to correct the client's settings. Sessions stay until then.
            logger.error("the provider refuses this client, check OAUTH_CLIENT_ID and its secret or key: %s", error)
        elif error == PROOF_REFUSED:
            logger.error("the provider refuses the DPoP proof, check this host's clock and OAUTH_TOKEN_ENDPOINT")
        return base.refusal_by_code(answer) or base.unknown(answer)

    def revoke(self, tokens: TokenPair) -> ApiCall | None:
        """RFC 7009. The provider also ends the access tokens of the same grant, if it can."""
        url = current_provider().revocation_endpoint
        form = {"token": tokens.refresh, "token_type_hint": "refresh_token"}
        return self._client_call(url, form) if url else None

    def assertion_audience(self, url: str) -> str:
        """The `aud` of the JWT that authenticates this client with private_key_jwt, for a call to `url`.

        The issuer, as RFC 10070 and FAPI 2.0 demand. Override this for a provider that expects its token endpoint.
        """
        return conf.oauth_issuer or current_provider().token_endpoint

    def _token_call(self, form: dict[str, str], dpop_key: str = "") -> ApiCall:
        return replace(self._client_call(current_provider().token_endpoint, form), dpop_key=dpop_key)

    def _client_call(self, url: str, form: dict[str, str]) -> ApiCall:
        """Each post to an endpoint of the provider that authenticates this client."""
        return client_call(current_provider(), url, form, audience=self.assertion_audience(url))


class OAuth2PasswordDialect(OAuth2Dialect, base.PasswordDialect):
    """The password grant (RFC 6749 section 4.3), for a first-party server that offers nothing else.

    RFC 9700 section 2.4 forbids it: the password passes through this site, and no second factor is possible.
    """

    username_field = "username"
    # Without one, the user's id is the name that was typed. django-oauth-toolkit sends the first one with a refresh.
    checks_id_tokens = False

    def sign_in(self, username: str, password: str) -> ApiCall:
        return self._token_call(
            {"grant_type": "password", self.name_field(): username, "password": password, "scope": conf.oauth_scope}
        )

    def read_sign_in(self, answer: ApiAnswer, username: str) -> base.SignedIn:
        if base.error_code(answer) == "invalid_grant":
            base.raise_for_sign_in(answer, answer.message("error_description") or "Wrong user name or password.")
        _raise_for_token(answer)
        tokens = _read_pair(answer)
        # TLS to the token endpoint stands in for the check of the signature (OpenID Connect Core 3.1.3.7, rule 6).
        id_token = base.text_of_token(answer.json_object().get("id_token"))
        claims = unverified_claims(id_token or tokens.access)
        return base.SignedIn(_user_from_claims(claims, username), tokens, id_token)


def _is_openid() -> bool:
    return "openid" in conf.oauth_scope.split()


def _raise_for_token(answer: ApiAnswer) -> None:
    """Raise unless the token endpoint sent tokens: CredentialsRefused, ApiUnavailable or ApiMisbehaved."""
    error = answer.json_object().get("error")
    if base.error_code(answer) in _CODE_REFUSALS:
        raise CredentialsRefused("This sign-in took too long or is already complete.")
    if base.refusal_by_code(answer) is not None:
        raise CredentialsRefused("The provider asks you to sign in there again.")
    if error and isinstance(error, str) and answer.status < 500:
        # The error is about this client and not for the user.
        raise ApiMisbehaved(f"the provider's token endpoint: {base.unknown(answer).why}")
    base.raise_for_sign_in(answer, "")


def _read_pair(answer: ApiAnswer, previous: TokenPair | None = None, *, dpop_key: str = "") -> TokenPair:
    """The pair, bound to `dpop_key` if the response says so."""
    body = answer.json_object()
    kind = str(body.get("token_type", "")).lower()
    if kind not in ("bearer", "", *(["dpop"] if dpop_key else [])):
        raise ApiMisbehaved("the provider's token_type is not Bearer (RFC 6750)")
    if kind != "dpop" and previous is not None and dpop_key:
        # The refresh token is spent, so without this pair the session would be lost.
        logger.error("the provider sent a bearer token in place of one that is bound to a key (DPoP)")
    if previous is None and not body.get("refresh_token"):
        raise ApiMisbehaved("the provider sent no refresh token; it may need the scope offline_access")
    tokens = receive_pair(
        body.get("access_token"),
        body.get("refresh_token"),
        access_expires_in=body.get("expires_in"),
        # Keycloak sends 0 for a token that never expires.
        refresh_expires_in=body.get("refresh_expires_in") or body.get("refresh_token_expires_in") or None,
        previous=previous,
    )
    return replace(tokens, dpop_key=dpop_key if kind == "dpop" else "")


def _user_from_claims(claims: Mapping[str, Any], username: str = "") -> User:
    """The user in standard claims (OpenID Connect Core 5.1). `name` comes before `preferred_username` and `email`."""
    name = claims.get("name") or claims.get("preferred_username") or claims.get("email")
    return base.user_from({"id": claims.get("sub"), "name": name, "email": claims.get("email")}, username)
