"""The OAuth 2.0 provider: its endpoints and its signing keys, as its own documents and our settings have them."""

import functools
import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import jwt

from accounts.conf import conf
from accounts.exceptions import ApiError, ApiMisbehaved, ApiUnavailable
from accounts.upstream.calls import ApiCall
from accounts.upstream.retry_after import parse_retry_after
from accounts.upstream.transport import AnswerLost, NotSent, call_once, check_url

logger = logging.getLogger(__name__)

KEEP_SECONDS = 3600.0
#: After a failure, or a search for a key that is not there, nobody asks again for so long.
PAUSE_SECONDS = 5.0

# Browsers and servers agree on little more.
_MAX_URL = 2000

# Public keys only: with the client's secret as the key (HS256), whoever knows it could sign in as anybody.
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """Endpoints are whole URLs, empty where the provider has none. Field names are those of RFC 8414 section 2."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    revocation_endpoint: str
    userinfo_endpoint: str
    end_session_endpoint: str
    jwks_uri: str
    #: How clients may authenticate at the token endpoint.
    token_endpoint_auth_methods: tuple[str, ...]
    #: Whether it promises to name itself when it sends a browser back (RFC 9207).
    sends_issuer: bool


def current_provider() -> Provider:
    """The configured provider. Its discovery document is kept for an hour, and longer while the provider is away.

    Raises ApiUnavailable, or ApiMisbehaved where the document is none or another issuer's.
    """
    configured = conf.oauth_endpoints
    # Who names both of these has a provider without discovery; the password grant needs but one of them.
    needs_none = "token_endpoint" in configured and ("authorization_endpoint" in configured or not conf.oauth_issuer)
    document = {} if needs_none else _discovery(conf.oauth_issuer).get()
    named = {**document, **configured}
    endpoints = {
        name: _endpoint(named, name)
        for name in (
            "authorization_endpoint",
            "token_endpoint",
            "revocation_endpoint",
            "userinfo_endpoint",
            "end_session_endpoint",
            "jwks_uri",
        )
    }
    if not endpoints["token_endpoint"]:
        raise ApiMisbehaved("the provider's discovery document names no token endpoint")
    methods = document.get("token_endpoint_auth_methods_supported")
    return Provider(
        issuer=conf.oauth_issuer,
        # RFC 8414 section 2 has this default.
        token_endpoint_auth_methods=tuple(methods) if isinstance(methods, list) else ("client_secret_basic",),
        sends_issuer=document.get("authorization_response_iss_parameter_supported") is True,
        **endpoints,
    )


def find_signing_key(provider: Provider, token: str) -> jwt.PyJWK:
    """The provider's public key that `token` names in its header.

    A key that is not known yet is looked for at the provider: it may have begun to sign with a new one. Raises
    ApiMisbehaved where there is none, or the token is no JWT; ApiUnavailable.
    """
    try:
        header = jwt.get_unverified_header(token)
    except jwt.InvalidTokenError as error:
        raise ApiMisbehaved("the provider's ID token is no JWT") from error
    if header.get("alg") not in _ALGORITHMS:
        raise ApiMisbehaved("the provider's ID token is signed with an algorithm that is not accepted here")
    if not provider.jwks_uri:
        raise ApiMisbehaved("the provider sent an ID token, and names no keys: set OAUTH_JWKS_URI")
    document = _document(provider.jwks_uri)
    key = _find(document.get(), header) or _find(document.get(fresh=True), header)
    if key is None:
        raise ApiMisbehaved("the provider's ID token is signed with a key that is not among its own")
    return key


def _find(keys: dict[str, Any], header: dict[str, Any]) -> jwt.PyJWK | None:
    """The key with the header's `kid`; for a header without one, the only key there is."""
    listed = keys.get("keys")
    known = [key for key in listed if isinstance(key, dict)] if isinstance(listed, list) else []
    known = [key for key in known if key.get("use", "sig") == "sig"]
    named = [key for key in known if key.get("kid") == header.get("kid")]
    candidates = named or (known if "kid" not in header else [])
    if len(candidates) != 1:
        return None
    try:
        return jwt.PyJWK(candidates[0], algorithm=header["alg"])
    except jwt.PyJWTError as error:
        raise ApiMisbehaved(f"a key of the provider's cannot be used: {type(error).__name__}") from error


def _endpoint(document: dict[str, Any], name: str) -> str:
    """The URL under `name`, or "". Raises ApiMisbehaved for one that leads nowhere, or sends codes in the clear."""
    url = document.get(name)
    if not url:
        return ""
    scheme = _scheme(str(url))
    if not scheme or (scheme == "http" and conf.oauth_issuer.startswith("https:")):
        raise ApiMisbehaved(f"the provider's {name} is no https address")
    return str(url)


@functools.lru_cache(maxsize=64)
def _scheme(url: str) -> str:
    """http or https, or "" for what no request can be sent to, and no browser."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.port != 0 and len(url) <= _MAX_URL
        check_url(url)
    except ValueError:
        return ""
    return parts.scheme if usable else ""


class _Document:
    """A JSON document at the provider's, fetched when it is needed first."""

    def __init__(self, fetch: Callable[[], dict[str, Any]]) -> None:
        self._fetch = fetch
        self._lock = threading.Lock()
        self._value: dict[str, Any] | None = None
        self._fetched_at = self._failed_at = -math.inf

    def get(self, *, fresh: bool = False) -> dict[str, Any]:
        """The document; a `fresh` one is a few seconds old at most. Raises ApiUnavailable or ApiMisbehaved.

        One thread fetches. The others wait for what it gets only where there is no old document: that one will do, as
        it does while the provider is away.
        """
        if not self._lock.acquire(blocking=fresh or self._value is None):
            return self._value or {}
        try:
            now = time.monotonic()
            if self._value is not None and now - self._fetched_at < (PAUSE_SECONDS if fresh else KEEP_SECONDS):
                return self._value
            try:
                if now - self._failed_at < PAUSE_SECONDS:
                    raise ApiUnavailable("the provider did not answer just now")
                self._value, self._fetched_at = self._fetch(), now
            except ApiError as error:
                if now - self._failed_at >= PAUSE_SECONDS:
                    self._failed_at = time.monotonic()
                    logger.warning("a document of the provider's: %s", error)
                if self._value is None or fresh:
                    raise
            return self._value
        finally:
            self._lock.release()


@functools.lru_cache(maxsize=8)
def _document(url: str) -> _Document:
    return _Document(lambda: _fetch(url))


@functools.lru_cache(maxsize=8)
def _discovery(issuer: str) -> _Document:
    return _Document(lambda: _fetch_discovery(issuer))


def _fetch_discovery(issuer: str) -> dict[str, Any]:
    """OpenID Connect Discovery 1.0 section 4; for a provider that speaks plain OAuth 2.0, RFC 8414 section 3."""
    if not issuer:
        raise ApiMisbehaved("OAUTH_ISSUER is not set")
    parts = urlsplit(issuer)
    path = parts.path.rstrip("/")
    origin = f"{parts.scheme}://{parts.netloc}"
    try:
        document = _fetch(f"{origin}{path}/.well-known/openid-configuration")
    except ApiMisbehaved:
        document = _fetch(f"{origin}/.well-known/oauth-authorization-server{path}")
    if document.get("issuer") != issuer:
        # Exactly, as both documents have it: else one provider's answers could pass for another's.
        raise ApiMisbehaved(f"the provider calls itself {document.get('issuer')!r}, and OAUTH_ISSUER is {issuer!r}")
    return document


def _fetch(url: str) -> dict[str, Any]:
    """The JSON object at `url`. Raises ApiUnavailable where it may be had later, ApiMisbehaved where it is none."""
    try:
        answer = call_once(ApiCall(method="GET", path=url), address="", ends_at=time.monotonic() + conf.attempt_seconds)
    except (NotSent, AnswerLost) as error:
        raise ApiUnavailable(f"{url}: {error}") from error
    if answer.status >= 500 or answer.status in (408, 425, 429):
        retry_after = parse_retry_after(answer.headers.get("retry-after"))
        raise ApiUnavailable(f"{url}: status {answer.status}", retry_after=retry_after)
    if answer.status != 200 or not answer.json_object():
        raise ApiMisbehaved(f"{url}: status {answer.status}, and no JSON document")
    return answer.json_object()
