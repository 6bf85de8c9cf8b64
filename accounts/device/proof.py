"""The proof of a device: a JWT of type `dbsc+jwt`, signed with the device's key, that repeats a challenge of this site.

A challenge is sealed text for one session, and good for a minute. So the site stores none. A proof that is sent twice
in this minute is accepted twice: it only renews a cookie that the first one renewed.
"""

import json
import struct
import time
from typing import Any
from uuid import UUID

import jwt

from accounts.session.device_key import algorithm_of, public_key, text_of_jwk
from accounts.session.sealing import CannotOpen, Purpose, open_sealed, seal

CHALLENGE_SECONDS = 60.0
#: An RSA key of 4,096 bits and its signature take 1,400 characters, a challenge takes 90.
_MAX_PROOF = 4096


class Unproven(Exception):
    """The text proves nothing."""


class StaleChallenge(Unproven):
    """The proof is right, but its challenge is too old, or is of another session."""


def new_challenge(session_id: UUID) -> str:
    return seal(Purpose.DEVICE_CHALLENGE, struct.pack(">d", time.time()), context=session_id.bytes)


def check_registration(proof: str, session_id: UUID) -> str:
    """The text of the key that the proof brings, and that it is signed with. Raises Unproven."""
    try:
        key = text_of_jwk(_header(proof).get("jwk"))
    except ValueError as error:
        raise Unproven(str(error)) from error
    check_proof(proof, session_id, key)
    return key


def check_proof(proof: str, session_id: UUID, key: str) -> None:
    """Raises Unproven, unless `proof` is signed with `key` and repeats a challenge of this session."""
    if _header(proof).get("typ") != "dbsc+jwt":
        raise Unproven("it is no proof of a device")
    try:
        # Not jwt.decode(): the claims of a proof are no concern of this site, only its challenge is.
        decoded = jwt.PyJWS().decode_complete(proof, public_key(key), algorithms=[algorithm_of(key)])
        payload = json.loads(decoded["payload"])
    except (jwt.InvalidTokenError, ValueError, TypeError, RecursionError) as error:
        raise Unproven(f"it is not signed with the key ({type(error).__name__})") from error
    challenge = payload.get("jti") if isinstance(payload, dict) else None
    if not isinstance(challenge, str) or not _is_fresh(challenge, session_id):
        raise StaleChallenge("its challenge is too old, or is of another session")


def _header(proof: str) -> dict[str, Any]:
    if not 0 < len(proof) <= _MAX_PROOF:
        raise Unproven("there is no proof, or it is too long")
    try:
        return jwt.get_unverified_header(proof)
    except (jwt.InvalidTokenError, ValueError, TypeError, RecursionError) as error:
        raise Unproven("it is no JWT") from error


def _is_fresh(challenge: str, session_id: UUID) -> bool:
    try:
        data = open_sealed(Purpose.DEVICE_CHALLENGE, challenge, context=session_id.bytes)
        (sealed_at,) = struct.unpack(">d", data)
    except (CannotOpen, struct.error):
        return False
    # The clock of the host that sealed it may be ahead of the clock of this host.
    return bool(abs(time.time() - sealed_at) <= CHALLENGE_SECONDS)
