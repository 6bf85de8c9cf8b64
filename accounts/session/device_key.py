"""The public key of a device: an EC P-256 key for ES256, or an RSA key for RS256.

The session holds it as short text, "ES256." with the compressed point or "RS256." with the modulus, in base64url. The
record holds its RFC 7638 thumbprint, which proves nothing.
"""

import base64
import binascii
import functools
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

_EXPONENT = 65537
_RSA_BYTES = range(2048 // 8, 4096 // 8 + 1)
_EC_BYTES = 32
_PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}


def text_of_jwk(jwk: object) -> str:
    """The text of a key in a JWT's header (RFC 7517). Raises ValueError for any other key, and for a private one."""
    if not isinstance(jwk, Mapping) or _PRIVATE & jwk.keys():
        raise ValueError("no public key")
    if jwk.get("kty") == "EC" and jwk.get("crv") == "P-256":
        x, y = (_decode(jwk.get(name)) for name in ("x", "y"))
        if (len(x), len(y)) != (_EC_BYTES, _EC_BYTES):
            raise ValueError("no point of P-256")
        point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + x + y)
        return f"ES256.{_encode(point.public_bytes(Encoding.X962, PublicFormat.CompressedPoint))}"
    if jwk.get("kty") == "RSA" and _decode(jwk.get("e")) == _EXPONENT.to_bytes(3):
        text = f"RS256.{_encode(_decode(jwk.get('n')))}"
        public_key(text)
        return text
    raise ValueError("no key for ES256 or RS256")


def algorithm_of(text: str) -> str:
    """ES256 or RS256."""
    return text.partition(".")[0]


def public_key(text: str) -> PublicKey:
    """Raises ValueError for text that is no key."""
    algorithm, _, encoded = text.partition(".")
    data = _decode(encoded)
    if algorithm == "ES256":
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), data)
    if algorithm != "RS256" or len(data) not in _RSA_BYTES or not data[0]:
        raise ValueError("no key for ES256 or RS256")
    return rsa.RSAPublicNumbers(_EXPONENT, int.from_bytes(data)).public_key()


@functools.lru_cache(maxsize=1024)
def device_key(text: str) -> str:
    """The algorithm and the RFC 7638 thumbprint of a key, for the record; empty for no key."""
    if not text:
        return ""
    key = public_key(text)
    if isinstance(key, rsa.RSAPublicKey):
        jwk = {"e": _encode(_EXPONENT.to_bytes(3)), "kty": "RSA", "n": text.partition(".")[2]}
    else:
        numbers = key.public_numbers()
        x, y = (_encode(number.to_bytes(_EC_BYTES)) for number in (numbers.x, numbers.y))
        jwk = {"crv": "P-256", "kty": "EC", "x": x, "y": y}
    digest = hashlib.sha256(json.dumps(jwk, sort_keys=True, separators=(",", ":")).encode()).digest()
    return f"{algorithm_of(text)}:{_encode(digest)}"


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: Any) -> bytes:
    """Strict base64url without padding. Raises ValueError."""
    if not isinstance(text, str) or not text.isascii():
        raise ValueError("no base64url")
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("no base64url") from error
    if _encode(data) != text:
        raise ValueError("no base64url")
    return data
