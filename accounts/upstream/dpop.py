"""DPoP (RFC 9449): each call proves that this site has the key that a session's tokens are bound to.

A session has one key, from its sign-in to its end. It is in the sealed session, beside the tokens.
"""

import base64
import functools
import hashlib
import json
import math
import re
import secrets
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from jwt.api_jws import PyJWS
from requests import PreparedRequest

#: The `error` of a server that wants another nonce in the proof. It has not acted on the call.
WANTS_NONCE = "use_dpop_nonce"
#: The `error` of a server that does not accept the proof: perhaps a clock is wrong. Another token does not help.
PROOF_REFUSED = "invalid_dpop_proof"

_KEY_BYTES = 32
# RFC 9449 section 8.1.
_NONCE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,1000}")
_ERROR = re.compile(rf'\berror[ \t]*=[ \t]*"?({WANTS_NONCE}|{PROOF_REFUSED})\b', re.IGNORECASE)
_MAX_SERVERS = 16
#: Servers accept a nonce for a minute or longer.
_NONCE_SECONDS = 30.0

_jws = PyJWS()
#: The newest nonce of each server, "" if it wants none, and when a response said so (time.monotonic()).
_nonces: dict[tuple[str, bool], tuple[str, float]] = {}


def new_key() -> str:
    """A private key for ES256, as text for the session."""
    scalar = ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value
    return _base64url(scalar.to_bytes(_KEY_BYTES))


def thumbprint(key: str) -> str:
    """`dpop_jkt`: the SHA-256 thumbprint (RFC 7638) of the public key."""
    _, jwk = _read_key(key)
    return _base64url(hashlib.sha256(json.dumps(jwk, sort_keys=True, separators=(",", ":")).encode()).digest())


def add_proof(request: PreparedRequest, key: str, *, nonce: str = "") -> None:
    """Add a proof to a call, in place of an older one. Each attempt needs a new proof: a server accepts it once.

    `nonce` is what the server has just asked for; without it, the newest one of this server, if there is one.
    """
    private, jwk = _read_key(key)
    url = str(request.url)
    claims: dict[str, object] = {
        "jti": secrets.token_urlsafe(16),
        "htm": request.method,
        "htu": url.partition("?")[0].partition("#")[0],
        "iat": int(time.time()),
    }
    if (token := _bound_token(request)) is not None:
        claims["ath"] = _base64url(hashlib.sha256(token.encode()).digest())
    if nonce := nonce or _newest_nonce(request)[0]:
        claims["nonce"] = nonce
    headers = {"typ": "dpop+jwt", "jwk": jwk}
    request.headers["DPoP"] = _jws.encode(json.dumps(claims).encode(), private, "ES256", headers=headers)


def remember_nonce(request: PreparedRequest, headers: Mapping[str, str], *, used: str = "", error: object = "") -> None:
    """Keep the nonce of a response, for the next proofs for this server. Without one, that of before is still valid.

    `used` is the one that the server has asked this call for. What a response asks for is kept only after that: a
    server may accept a nonce once, and another thread could use it up. If the response refuses the proof, by its
    `error` or its header, the reason may be the nonce of before: it is forgotten.
    """
    nonce, errors = read_nonce(headers), (error, proof_error(headers))
    if WANTS_NONCE in errors:
        return
    if PROOF_REFUSED in errors and not nonce:
        _nonces.pop(_server(request), None)
        return
    keep_nonce(request, nonce or used or _newest_nonce(request)[0])


def keep_nonce(request: PreparedRequest, nonce: str) -> None:
    """Use `nonce`, "" for none, in the next proofs for this server."""
    if len(_nonces) >= _MAX_SERVERS:
        # More than a site has, so the settings have changed.
        _nonces.clear()
    _nonces[_server(request)] = (nonce, time.monotonic())


def may_want_nonce(request: PreparedRequest) -> bool:
    """Whether the server of a call may refuse the nonce that is known, because it is old or there is none."""
    nonce, since = _newest_nonce(request)
    is_old = time.monotonic() - since > _NONCE_SECONDS
    return is_old if nonce else since == -math.inf


def read_nonce(headers: Mapping[str, str]) -> str:
    """The nonce that a response brings; "" without one. Header names are in lower case, or of any case."""
    nonce = headers.get("dpop-nonce", "")
    return nonce if _NONCE.fullmatch(nonce) else ""


def proof_error(headers: Mapping[str, str]) -> str:
    """WANTS_NONCE or PROOF_REFUSED, if a 401 is about the proof (RFC 9449 section 7.1), else ""."""
    found = _ERROR.search(headers.get("www-authenticate", ""))
    return found[1].lower() if found else ""


def forget_nonces() -> None:
    """As in a new process."""
    _nonces.clear()


# Reading a key takes longer than signing with it.
@functools.lru_cache(maxsize=512)
def _read_key(key: str) -> tuple[ec.EllipticCurvePrivateKey, dict[str, str]]:
    """The private key, and the public one as a JWK."""
    scalar = int.from_bytes(base64.urlsafe_b64decode(key + "="))
    private = ec.derive_private_key(scalar, ec.SECP256R1())
    jwk = ECAlgorithm.to_jwk(private.public_key(), as_dict=True)
    return private, {name: jwk[name] for name in ("crv", "kty", "x", "y")}


def _newest_nonce(request: PreparedRequest) -> tuple[str, float]:
    return _nonces.get(_server(request), ("", -math.inf))


def _server(request: PreparedRequest) -> tuple[str, bool]:
    """Whose nonce is meant: an origin, and whether it is an API there. Provider and API may share an origin."""
    parts = urlsplit(str(request.url))
    return f"{parts.scheme}://{parts.netloc}", _bound_token(request) is not None


def _bound_token(request: PreparedRequest) -> str | None:
    """The access token of a call that has one."""
    scheme, _, token = str(request.headers.get("Authorization", "")).partition(" ")
    return token if scheme == "DPoP" else None


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
