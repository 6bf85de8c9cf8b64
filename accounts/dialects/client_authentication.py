"""How this site proves to the provider that it is the client.

With a secret (RFC 6749 section 2.3.1), or with a JWT that its private key signs (private_key_jwt: OpenID Connect Core
section 9, RFC 7523, RFC 10070). The provider gets the public key at /accounts/jwks.json.
"""

import base64
import functools
import hashlib
import json
import re
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from accounts.conf import conf
from accounts.dialects.discovery import NEW_NAMES, Provider
from accounts.exceptions import ApiMisbehaved
from accounts.upstream.calls import ApiCall

#: How long an assertion is valid. It is made for one call.
ASSERTION_SECONDS = 60
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

_SMALLEST_RSA_BITS = 2048
_PRIVATE_KEY = re.compile(r"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?-----END \1-----", re.DOTALL)
# Best first. FAPI 2.0 allows PS256, ES256 and EdDSA.
_RSA_ALGORITHMS = ("PS256", "RS256", "PS384", "RS384", "PS512", "RS512")
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
# What a thumbprint consists of (RFC 7638 section 3.2, RFC 8037 section 2).
_THUMBPRINT_MEMBERS = {"RSA": ("e", "kty", "n"), "EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x")}

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey

_jws = jwt.PyJWS()
for _name in NEW_NAMES:
    _jws.register_algorithm(_name, OKPAlgorithm())


class UnusableKey(ValueError):
    """OAUTH_CLIENT_KEY is no key that this site can use. The text says why, without the key."""


@dataclass(frozen=True, slots=True)
class ClientKey:
    """A private key of this client. `kid` is its thumbprint (RFC 7638), `kind` a name for people."""

    private: PrivateKey = field(repr=False)
    kid: str
    kind: str
    algorithms: tuple[str, ...]
    public_jwk: dict[str, Any] = field(repr=False)

    def algorithm(self, accepted: tuple[str, ...]) -> str:
        """The best one that the provider accepts. RS256 for RSA if it names none (OpenID Connect Core section 15.1)."""
        default = "RS256" if "RS256" in self.algorithms else self.algorithms[0]
        return next((name for name in self.algorithms if name in accepted), default)


def client_keys() -> tuple[ClientKey, ...]:
    """The keys in OAUTH_CLIENT_KEY. The first one signs. Empty without the setting. Raises UnusableKey."""
    return _load(conf.oauth_client_key) if conf.oauth_client_key else ()


def authentication_method(provider: Provider) -> str:
    """One of the names of OpenID Connect Core section 9, or "none" for a public client."""
    if conf.oauth_client_auth:
        method = conf.oauth_client_auth
    elif conf.oauth_client_key:
        method = "private_key_jwt"
    else:
        offered = provider.token_endpoint_auth_methods
        method = "client_secret_basic" if "client_secret_basic" in offered else "client_secret_post"
    return method if method == "private_key_jwt" or conf.oauth_client_secret else "none"


def client_call(provider: Provider, url: str, form: dict[str, str], *, audience: str) -> ApiCall:
    """A form post that authenticates this client. Build a new one for each attempt: an assertion is accepted once.

    `audience` is the `aud` of an assertion. Raises ApiMisbehaved if OAUTH_CLIENT_KEY cannot be used.
    """
    client_id, secret = conf.oauth_client_id, conf.oauth_client_secret
    method = authentication_method(provider)
    if method == "client_secret_basic":
        credentials = f"{quote_plus(client_id)}:{quote_plus(secret)}"
        headers = {"Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}"}
        return ApiCall(method="POST", path=url, form=form, headers=headers)
    client = {"client_id": client_id}
    if method == "private_key_jwt":
        client |= {"client_assertion_type": ASSERTION_TYPE, "client_assertion": _assertion(provider, audience)}
    elif method == "client_secret_post":
        client |= {"client_secret": secret}
    return ApiCall(method="POST", path=url, form={**form, **client})


def _assertion(provider: Provider, audience: str) -> str:
    """The JWT of RFC 7523 section 3, for one call. RFC 10070 section 4 has its type."""
    try:
        keys = client_keys()
    except UnusableKey as error:
        raise ApiMisbehaved(str(error)) from error
    if not keys:
        raise ApiMisbehaved("OAUTH_CLIENT_AUTH is private_key_jwt, but OAUTH_CLIENT_KEY is not set")
    now = int(time.time())
    claims = {
        "iss": conf.oauth_client_id,
        "sub": conf.oauth_client_id,
        "aud": audience,
        "jti": secrets.token_urlsafe(16),
        "iat": now,
        "exp": now + ASSERTION_SECONDS,
    }
    algorithm = keys[0].algorithm(provider.token_endpoint_auth_algorithms)
    headers = {"kid": keys[0].kid, "typ": "client-authentication+jwt"}
    return _jws.encode(json.dumps(claims).encode(), keys[0].private, algorithm, headers=headers)


# A file is read once. After a change of the file, the site has to start again.
@functools.lru_cache(maxsize=1)
def _load(setting: str) -> tuple[ClientKey, ...]:
    text = setting.replace("\\n", "\n")
    if "-----BEGIN" not in text:
        try:
            text = Path(setting).read_text()
        except (OSError, ValueError) as error:
            raise UnusableKey(f"OAUTH_CLIENT_KEY names a file that cannot be read ({type(error).__name__})") from error
    keys = tuple(_read(match[0]) for match in _PRIVATE_KEY.finditer(text))
    if not keys:
        raise UnusableKey("OAUTH_CLIENT_KEY has no private key in PEM format")
    return keys


def _read(pem: str) -> ClientKey:
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except TypeError as error:
        raise UnusableKey("a key in OAUTH_CLIENT_KEY is encrypted with a password") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UnusableKey("a key in OAUTH_CLIENT_KEY cannot be read") from error
    if isinstance(key, rsa.RSAPrivateKey):
        if key.key_size < _SMALLEST_RSA_BITS:
            raise UnusableKey(f"an RSA key in OAUTH_CLIENT_KEY has {key.key_size} bits, at least 2048 are necessary")
        jwk = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
        return _client_key(key, f"RSA, {key.key_size} bits", _RSA_ALGORITHMS, jwk)
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        jwk = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
        return _client_key(key, f"EC, {jwk['crv']}", (_CURVES[key.curve.name],), jwk)
    if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey):
        jwk = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
        return _client_key(key, jwk["crv"], ("EdDSA", jwk["crv"]), jwk)
    raise UnusableKey("a key in OAUTH_CLIENT_KEY is neither RSA, EC (P-256, P-384, P-521), Ed25519 nor Ed448")


def _client_key(private: PrivateKey, kind: str, algorithms: tuple[str, ...], jwk: dict[str, Any]) -> ClientKey:
    members = {name: jwk[name] for name in _THUMBPRINT_MEMBERS[jwk["kty"]]}
    digest = hashlib.sha256(json.dumps(members, sort_keys=True, separators=(",", ":")).encode()).digest()
    kid = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    return ClientKey(private, kid, kind, algorithms, {**members, "kid": kid, "use": "sig"})
