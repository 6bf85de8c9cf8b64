"""The key of a device, what a browser signs with it, and the headers of Device Bound Session Credentials."""

import re
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

REGISTRATION = "Secure-Session-Registration"
CHALLENGE = "Secure-Session-Challenge"
PROOF = "Secure-Session-Response"
SESSION_ID = "Sec-Secure-Session-Id"

_REGISTRATION = re.compile(r'\(ES256 RS256\);path="([^"]+)";challenge="([^"]+)"')
_CHALLENGE = re.compile(r'"([^"]+)";id="([^"]+)"')


class Device:
    """A device with one key."""

    def __init__(self, algorithm: str = "ES256") -> None:
        self.algorithm = algorithm
        self.key: Any
        if algorithm == "ES256":
            self.key = ec.generate_private_key(ec.SECP256R1())
        else:
            self.key = rsa.generate_private_key(65537, 2048)

    @property
    def jwk(self) -> dict[str, Any]:
        """The public key."""
        kind = ECAlgorithm if self.algorithm == "ES256" else RSAAlgorithm
        return dict(kind.to_jwk(self.key.public_key(), as_dict=True))

    def sign(self, challenge: str, **headers: Any) -> str:
        """A proof. `headers` are added to those of the JWT, such as `jwk`; None removes one."""
        typ = headers.pop("typ", "dbsc+jwt")
        return jwt.encode({"jti": challenge}, self.key, algorithm=self.algorithm, headers={"typ": typ, **headers})

    def register(self, challenge: str) -> str:
        """The proof of a registration, which carries the public key."""
        return self.sign(challenge, jwk=self.jwk)


def read_registration(header: str) -> tuple[str, str]:
    """Path and challenge of a Secure-Session-Registration header."""
    return _fields(_REGISTRATION, header)


def read_challenge(header: str) -> tuple[str, str]:
    """The challenge of a Secure-Session-Challenge header, and the session that it is for."""
    return _fields(_CHALLENGE, header)


def _fields(pattern: re.Pattern[str], header: str) -> tuple[str, str]:
    found = pattern.fullmatch(header)
    assert found is not None, f"no such header: {header!r}"
    return found[1], found[2]
