"""The OAuth 2.0 provider's endpoints and signing keys, from its discovery documents and our settings."""

import functools
import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import urlsplit

import jwt
from jwt.algorithms import OKPAlgorithm

from accounts.conf import conf
from accounts.dialects.base import is_later, is_success
from accounts.exceptions import ApiError, ApiMisbehaved, ApiUnavailable
from accounts.upstream.calls import ApiCall
from accounts.upstream.retry_after import parse_retry_after
from accounts.upstream.transport import AnswerLost, NotSent, call_once, check_url

logger = logging.getLogger(__name__)

KEEP_SECONDS = 3600.0
#: After a failure, and after a search for an unknown key, the document is not fetched again for so long.
PAUSE_SECONDS = 5.0

# Many browsers and servers refuse longer URLs.
_MAX_URL = 2000

# The names of RFC 9864 for what RFC 8037 calls EdDSA.
NEW_NAMES = ("Ed25519", "Ed448")

# Public keys only: with HS256 the client secret would be the key, and could forge a sign-in of any user.
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", *NEW_NAMES)
# More keys that fit are not worth the time.
_MAX_KEYS = 100

_jws = jwt.PyJWS()
for _name in NEW_NAMES:
    _jws.register_algorithm(_name, OKPAlgorithm())


class UnusableDocument(ApiMisbehaved):
    """The discovery document, or the provider's keys, cannot be used. No token from elsewhere is the cause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """Endpoints are whole URLs, empty if the provider has none. The field names are those of RFC 8414 section 2."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    revocation_endpoint: str
    pushed_authorization_request_endpoint: str
    userinfo_endpoint: str
    end_session_endpoint: str
    jwks_uri: str
    #: How clients may authenticate at the token endpoint.
    token_endpoint_auth_methods: tuple[str, ...]
    #: With what a client may sign a JWT for that; empty if the document does not say.
    token_endpoint_auth_algorithms: tuple[str, ...]
    #: Whether it sends `iss` with every redirect to the callback (RFC 9207).
    sends_issuer: bool
    #: How it signs ID tokens and logout tokens; empty if it does not say.
    id_token_algorithms: tuple[str, ...]


ENDPOINTS = [field.name for field in fields(Provider) if field.name.endswith(("_endpoint", "_uri"))]


def current_provider() -> Provider:
    """The configured provider. Its discovery document is cached for an hour, and longer while it is unavailable.

    Raises ApiUnavailable, or ApiMisbehaved if the document is invalid or names another issuer.
    """
    document = discovery_document()
    endpoints = {name: _endpoint(document, name) for name in ENDPOINTS}
    if not endpoints["token_endpoint"]:
        raise UnusableDocument("the provider's discovery document names no token endpoint")
    return Provider(
        issuer=conf.oauth_issuer,
        # RFC 8414 section 2 has this default.
        token_endpoint_auth_methods=_list(document, "token_endpoint_auth_methods_supported")
        or ("client_secret_basic",),
        token_endpoint_auth_algorithms=_list(document, "token_endpoint_auth_signing_alg_values_supported"),
        sends_issuer=document.get("authorization_response_iss_parameter_supported") is True,
        id_token_algorithms=_list(document, "id_token_signing_alg_values_supported"),
        **endpoints,
    )


def discovery_document() -> dict[str, Any]:
    """The discovery document; {} if the settings replace it. Raises ApiUnavailable or ApiMisbehaved."""
    configured = conf.oauth_endpoints
    # With both endpoints set, the provider needs no discovery. The password grant needs the token endpoint alone.
    is_complete = "token_endpoint" in configured and ("authorization_endpoint" in configured or not conf.oauth_issuer)
    return {} if is_complete else _discovery(conf.oauth_issuer).get()


def _list(document: dict[str, Any], name: str) -> tuple[str, ...]:
    values = document.get(name)
    return tuple(map(str, values)) if isinstance(values, list) else ()


def check_signature(provider: Provider, token: str, *, name: str = "ID token") -> None:
    """Check that a key of the provider signed `token`, a JWT. `name` says in errors what it is.

    An unknown key is searched at the provider, which may have started to sign with a new one. Raises ApiUnavailable,
    or ApiMisbehaved if no key verifies the signature or `token` is not a JWT.
    """
    try:
        header = jwt.get_unverified_header(token)
    except jwt.InvalidTokenError as error:
        raise ApiMisbehaved(f"the provider's {name} is not a JWT") from error
    if header.get("alg") not in _ALGORITHMS:
        raise ApiMisbehaved(f"the provider's {name} is signed with an algorithm that this site does not accept")
    if not provider.jwks_uri:
        raise UnusableDocument(f"the provider sent a signed {name} but names no jwks_uri: set OAUTH_JWKS_URI")
    document = _document(provider.jwks_uri)
    if not (_is_signed(token, header, document.get()) or _is_signed(token, header, document.get(fresh=True))):
        raise ApiMisbehaved(f"no key in the provider's JWKS verifies the signature of its {name}")


def _is_signed(token: str, header: dict[str, Any], jwks: dict[str, Any]) -> bool:
    """Whether one of the keys that may have signed `token` verifies it. `kid` does not always name one key only."""
    listed = jwks.get("keys")
    keys = [key for key in listed if isinstance(key, dict)] if isinstance(listed, list) else []
    fitting = [key for key in keys if _may_sign(key, header)]
    return any(_verifies(key, token, header["alg"]) for key in fitting[:_MAX_KEYS])


def _may_sign(key: dict[str, Any], header: dict[str, Any]) -> bool:
    """Whether the key's own `kid`, `use`, `key_ops` and `alg` (RFC 7517 section 4) allow the token's signature.

    What is null or empty says nothing.
    """
    operations = key.get("key_ops") or ["verify"]
    return (
        ("kid" not in header or key.get("kid") in (None, "", header["kid"]))
        and (key.get("use") or "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
        and general_algorithm(key.get("alg") or header["alg"]) == general_algorithm(header["alg"])
    )


def general_algorithm(algorithm: object) -> object:
    """The older name of an algorithm with two names."""
    return "EdDSA" if algorithm in NEW_NAMES else algorithm


def _verifies(key: dict[str, Any], token: str, algorithm: str) -> bool:
    try:
        _jws.decode(token, jwt.PyJWK(key, algorithm=str(general_algorithm(algorithm))).key, algorithms=[algorithm])
    except (jwt.PyJWTError, ValueError, TypeError):
        # A key of another type, or one that PyJWT cannot read.
        return False
    return True


def _endpoint(document: dict[str, Any], name: str) -> str:
    """The URL under `name` in the settings or the document, or "". Raises ApiMisbehaved for an unusable one.

    A document of an https issuer cannot name http. The operator can: the site may reach the provider inside a network.
    """
    configured = conf.oauth_endpoints.get(name, "")
    url = configured or document.get(name)
    if not url:
        return ""
    scheme = _http_scheme(str(url))
    if not scheme or (scheme == "http" and conf.oauth_issuer.startswith("https:") and not configured):
        raise UnusableDocument(f"the provider's {name} is not an https URL")
    return str(url)


@functools.lru_cache(maxsize=64)
def _http_scheme(url: str) -> str:
    """http or https; "" for a URL that neither a request nor a browser can be sent to."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.port != 0 and len(url) <= _MAX_URL
        check_url(url)
    except ValueError:
        return ""
    return parts.scheme if usable else ""


class _Document:
    """A JSON document of the provider, fetched on first use and cached."""

    def __init__(self, fetch: Callable[[], dict[str, Any]]) -> None:
        self._fetch = fetch
        self._lock = threading.Lock()
        self._value: dict[str, Any] | None = None
        self._fetched_at = self._failed_at = -math.inf

    def get(self, *, fresh: bool = False) -> dict[str, Any]:
        """The document; with `fresh`, at most a few seconds old. Raises ApiUnavailable or ApiMisbehaved.

        One thread fetches. The others use the old document, and wait only if there is none. The old document is also
        used while the provider is unavailable.
        """
        if not self._lock.acquire(blocking=fresh or self._value is None):
            return self._value or {}
        try:
            now = time.monotonic()
            if self._value is not None and now - self._fetched_at < (PAUSE_SECONDS if fresh else KEEP_SECONDS):
                return self._value
            try:
                if now - self._failed_at < PAUSE_SECONDS:
                    raise ApiUnavailable("the provider failed to respond a moment ago")
                self._value = self._fetch()
                self._fetched_at = time.monotonic()
            except ApiError as error:
                if now - self._failed_at >= PAUSE_SECONDS:
                    self._failed_at = time.monotonic()
                    logger.warning("cannot fetch a document of the provider: %s", error)
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
        raise UnusableDocument("OAUTH_ISSUER is not set")
    parts = urlsplit(issuer)
    path = parts.path.rstrip("/")
    origin = f"{parts.scheme}://{parts.netloc}"
    try:
        document = _fetch(f"{origin}{path}/.well-known/openid-configuration")
    except ApiMisbehaved:
        document = _fetch(f"{origin}/.well-known/oauth-authorization-server{path}")
    if document.get("issuer") != issuer:
        # An exact comparison, as both standards demand. Otherwise one provider could pose as another.
        raise UnusableDocument(f"the provider's issuer is {document.get('issuer')!r}, but OAUTH_ISSUER is {issuer!r}")
    return document


def _fetch(url: str) -> dict[str, Any]:
    """The JSON object at `url`. Raises ApiUnavailable if it may be available later, or else ApiMisbehaved."""
    try:
        answer = call_once(ApiCall(method="GET", path=url), address="", ends_at=time.monotonic() + conf.attempt_seconds)
    except (NotSent, AnswerLost) as error:
        raise ApiUnavailable(f"{url}: {error}") from error
    if is_later(answer):
        retry_after = parse_retry_after(answer.headers.get("retry-after"))
        raise ApiUnavailable(f"{url}: status {answer.status}", retry_after=retry_after)
    if not is_success(answer) or not answer.json_object():
        raise UnusableDocument(f"{url}: status {answer.status} without a JSON object")
    return answer.json_object()
