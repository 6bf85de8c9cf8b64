"""Proofs that are none: what somebody sends who has no key, another key, or a text of their own."""

import base64
import hmac
import json
import warnings
from collections.abc import Callable
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from tests.device_key import Device

#: Makes a text of the true key and a good challenge.
Forgery = Callable[[Device, str], str]

HUGE = 100_000


def encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


def number(value: int) -> str:
    return encode(value.to_bytes((value.bit_length() + 7) // 8 or 1, "big"))


def unsigned(header: dict[str, Any], payload: bytes, signature: bytes = b"") -> str:
    return f"{encode(as_json(header))}.{encode(payload)}.{encode(signature)}"


def payload(content: object) -> Forgery:
    """A signature of the true key over another payload, as of a proof that is missing something."""

    def forge(device: Device, challenge: str) -> str:
        header = {"typ": "dbsc+jwt", "jwk": device.jwk}
        raw = content if isinstance(content, bytes) else as_json(content)
        return jwt.PyJWS().encode(raw, device.key, "ES256", headers=header)

    return forge


def with_jwk(jwk: Any) -> Forgery:
    """Signed with the true key, under the name of another one."""
    return lambda device, challenge: device.sign(challenge, jwk=jwk)


def with_changes(**fields: Any) -> Forgery:
    """The JWK of the true key with other fields; None removes one."""

    def forge(device: Device, challenge: str) -> str:
        changed = {**device.jwk, **fields}
        return device.sign(challenge, jwk={name: value for name, value in changed.items() if value is not None})

    return forge


def hs256(device: Device, challenge: str) -> str:
    """The public key is everybody's secret."""
    pem = device.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    text = unsigned({"alg": "HS256", "typ": "dbsc+jwt", "jwk": device.jwk}, as_json({"jti": challenge})).removesuffix(
        "."
    )
    return f"{text}.{encode(hmac.digest(pem, text.encode(), 'sha256'))}"


def none(device: Device, challenge: str) -> str:
    return unsigned({"alg": "none", "typ": "dbsc+jwt", "jwk": device.jwk}, as_json({"jti": challenge}))


def tampered(device: Device, challenge: str) -> str:
    head, body, signature = device.register(challenge).split(".")
    return f"{head}.{body}.{signature[:-4]}AAAA"


def zeros(device: Device, challenge: str) -> str:
    """The signature (0, 0), which some libraries took for good."""
    header = {"alg": "ES256", "typ": "dbsc+jwt", "jwk": device.jwk}
    return unsigned(header, as_json({"jti": challenge}), bytes(64))


def of_curve(curve: ec.EllipticCurve, algorithm: str) -> Forgery:
    def forge(device: Device, challenge: str) -> str:
        private = ec.generate_private_key(curve)
        jwk = ECAlgorithm.to_jwk(private.public_key(), as_dict=True)
        return jwt.encode({"jti": challenge}, private, algorithm, headers={"typ": "dbsc+jwt", "jwk": jwk})

    return forge


def rsa_signed(bits: int = 2048, algorithm: str = "RS256", *, private_jwk: bool = False, **fields: Any) -> Forgery:
    """A key of its own, of this size; `fields` replace those of its JWK."""

    def forge(device: Device, challenge: str) -> str:
        private = rsa.generate_private_key(65537, bits)
        shown = private if private_jwk else private.public_key()
        jwk = {**RSAAlgorithm.to_jwk(shown, as_dict=True), **fields}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a key that is too small
            return jwt.encode({"jti": challenge}, private, algorithm, headers={"typ": "dbsc+jwt", "jwk": jwk})

    return forge


def rsa_unsigned(n: int, e: int = 65537, signature: bytes = b"\x01" * 256) -> Forgery:
    """A JWK that no library makes. With e = 1, each text is its own signature."""

    def forge(device: Device, challenge: str) -> str:
        header = {"alg": "RS256", "typ": "dbsc+jwt", "jwk": {"kty": "RSA", "n": number(n), "e": number(e)}}
        return unsigned(header, as_json({"jti": challenge}), signature)

    return forge


def said(text: str) -> Forgery:
    return lambda device, challenge: text


#: At the registration and at the refresh.
ANYWHERE: dict[str, Forgery] = {
    "empty": said(" "),
    "a word": said("proof"),
    "dots": said(".."),
    "four parts": lambda device, challenge: f"{device.register(challenge)}.AAAA",
    "no base64": said("\x7f.\x7f.\x7f"),
    "binary": said("\xff\xfe.\xff.\xff"),
    "a header of another kind": said(f"{encode(b'[]')}.{encode(b'[]')}.AAAA"),
    "no JSON": said(f"{encode(b'x')}.{encode(b'x')}.AAAA"),
    "not UTF-8": said(f"{encode(bytes(range(128, 160)))}.{encode(b'{}')}.AAAA"),
    "deep JSON": said(f"{encode(b'[' * 2500)}.{encode(b'{}')}.AAAA"),
    "a huge number": said(encode(b'{"alg": ' + b"9" * 2500 + b"}") + ".e30.AAAA"),
    "huge": said("A" * HUGE),
    "a huge payload": payload({"jti": "x" * HUGE}),
    "only quotes": said('""'),
    "one quote": said('"'),
    "alg none": none,
    "alg HS256": hs256,
    "alg is a list": lambda device, challenge: unsigned(
        {"alg": ["ES256"], "jwk": device.jwk}, as_json({"jti": challenge})
    ),
    "alg is missing": lambda device, challenge: unsigned({"jwk": device.jwk}, as_json({"jti": challenge}), bytes(64)),
    "typ JWT": lambda device, challenge: device.sign(challenge, jwk=device.jwk, typ="JWT"),
    "typ is missing": lambda device, challenge: device.sign(challenge, jwk=device.jwk, typ=None),
    "typ is a list": lambda device, challenge: device.sign(challenge, jwk=device.jwk, typ=["dbsc+jwt"]),
    "crit": lambda device, challenge: device.sign(challenge, jwk=device.jwk, crit=["b64"], b64=False),
    "signature cut": lambda device, challenge: device.register(challenge)[:-20],
    "signature changed": tampered,
    "signature of zeros": zeros,
    "no signature": lambda device, challenge: device.register(challenge).rpartition(".")[0] + ".",
    "payload a list": payload([]),
    "payload no JSON": payload(b"\xff\x00"),
    "payload a number": payload(1),
    "no jti": payload({}),
    "jti a list": payload({"jti": ["x"]}),
    "jti a number": payload({"jti": 1}),
    "jti null": payload({"jti": None}),
    "jti empty": payload({"jti": ""}),
    "jti of their own": payload({"jti": "challenge"}),
    "jti huge": payload({"jti": "x" * 5000}),
    "jti with a line break": payload({"jti": "x\r\nSet-Cookie: a=b"}),
    "jti with surrogates": payload(b'{"jti": "\\ud800"}'),
}

_KEY = Device()
_BIG = (1 << 65_535) + 1

#: At the registration alone, which brings the key.
KEYS: dict[str, Forgery] = {
    "no jwk": lambda device, challenge: device.sign(challenge),
    "another key": with_jwk(_KEY.jwk),
    "jwk a text": with_jwk("key"),
    "jwk a list": with_jwk([_KEY.jwk]),
    "jwk a number": with_jwk(7),
    "jwk empty": with_jwk({}),
    "oct": with_jwk({"kty": "oct", "k": encode(b"secret" * 6)}),
    "OKP": with_jwk({"kty": "OKP", "crv": "Ed25519", "x": encode(bytes(32))}),
    "kty a list": with_changes(kty=["EC"]),
    "no kty": with_changes(kty=None),
    "curve P-384 by name": with_changes(crv="P-384"),
    "curve a number": with_changes(crv=256),
    "no x": with_changes(x=None),
    "x a number": with_changes(x=1),
    "x null": with_changes(x=[None]),
    "x no base64": with_changes(x="\u20ac"),
    "x short": with_changes(x="AQ"),
    "x zero": with_changes(x=encode(bytes(32))),
    "x and y zero": with_changes(x=encode(bytes(32)), y=encode(bytes(32))),
    "x beyond the field": with_changes(x=encode(b"\xff" * 32), y=encode(b"\xff" * 32)),
    "x huge": with_changes(x=encode(b"\x01" * 4000)),
    "private": lambda device, challenge: device.sign(
        challenge, jwk={**device.jwk, "d": number(device.key.private_numbers().private_value)}
    ),
    "P-384": of_curve(ec.SECP384R1(), "ES384"),
    "P-521": of_curve(ec.SECP521R1(), "ES512"),
    "secp256k1": of_curve(ec.SECP256K1(), "ES256K"),
    "RS256 with an EC key": lambda device, challenge: unsigned(
        {"alg": "RS256", "typ": "dbsc+jwt", "jwk": device.jwk}, as_json({"jti": challenge}), b"\x01" * 256
    ),
    "RS384": rsa_signed(algorithm="RS384"),
    "PS256": rsa_signed(algorithm="PS256"),
    "RSA private": rsa_signed(private_jwk=True),
    "RSA of 1024 bits": rsa_signed(1024),
    "RSA with another n": rsa_signed(n=number((1 << 2047) + 1)),
    "RSA of 512 bits": rsa_unsigned((1 << 511) + 1, signature=b"\x01" * 64),
    "RSA of 65,536 bits": rsa_unsigned(_BIG, signature=b"\x01" * 8192),
    "RSA with e = 1": rsa_unsigned((1 << 2047) + 1, e=1),
    "RSA with e = 2": rsa_unsigned((1 << 2047) + 1, e=2),
    "RSA with e = 0": rsa_unsigned((1 << 2047) + 1, e=0),
    "RSA with a huge e": rsa_unsigned((1 << 2047) + 1, e=(1 << 2047) - 1),
    "RSA with n = 0": rsa_unsigned(0),
    "RSA with n = 1": rsa_unsigned(1),
    "RSA with an even n": rsa_unsigned(1 << 2047),
}
