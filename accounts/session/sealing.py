"""Sealing: authenticated encryption of all secrets that leave this process, under a ring of keys.

The sealed text is strict base64url, without padding, of

    version (1 byte) | key id (4) | salt (16) | nonce (12) | AES-256-GCM ciphertext and tag

Each text has its own AES key: HKDF (RFC 5869) derives one key for each purpose from the ring's master key, and
HMAC-SHA256 of salt and context derives the message key from that. So a text sealed for one purpose opens for no other,
and the number of texts under one master key has no practical limit (a random nonce alone would set one at 2**32).
"""

import base64
import binascii
import functools
import hashlib
import hmac
import os
from enum import StrEnum

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from accounts.conf import conf

_VERSION = b"\x01"
_ID_BYTES, _SALT_BYTES, _NONCE_BYTES, _TAG_BYTES = 4, 16, 12, 16
# Characters that base64url does not have become spaces, which strict decoding refuses.
_TO_PLAIN_BASE64 = bytes.maketrans(b"-_+/=", b"+/   ")
_HEADER_BYTES = len(_VERSION) + _ID_BYTES + _SALT_BYTES + _NONCE_BYTES
#: Prefix of the key that config/settings.py uses on a developer's machine when no key is set.
DEVELOPMENT_KEY = "development-only-"
#: The first characters of a sealed text. They tell which key sealed it.
KEY_ID_CHARACTERS = 7


class Purpose(StrEnum):
    """The use that a text is sealed for. Each has its own key, made from this value: it must never change."""

    DOCTOR = "doctor's ticket"
    COOKIE = "session cookie"
    RECORD = "session record"
    SESSION_UPDATE = "hand-off"
    AUTHORIZATION = "authorization request"
    SIGN_OUT_HINT = "sign-out hint"
    DEVICE = "device"
    DEVICE_CHALLENGE = "device challenge"


class CannotOpen(Exception):
    """No key of the ring sealed this text for this purpose and context, or the text was changed."""


def seal(purpose: Purpose, data: bytes, *, context: bytes = b"") -> str:
    """Seal `data` with the newest key. It opens only with the same `purpose` and `context`. Returns ASCII text."""
    master = conf.keys[0]
    salt, nonce = os.urandom(_SALT_BYTES), os.urandom(_NONCE_BYTES)
    header = _VERSION + _key_id(master) + salt + nonce
    return _encode(header + _cipher(master, purpose, salt, context).encrypt(nonce, data, header))


def open_sealed(purpose: Purpose, text: str, *, context: bytes = b"") -> bytes:
    """The data that was sealed. Raises CannotOpen, whatever is wrong with the text."""
    raw = _decode(text)
    header = raw[:_HEADER_BYTES]
    if len(raw) < _HEADER_BYTES + _TAG_BYTES or header[:1] != _VERSION:
        raise CannotOpen
    key_id, salt, nonce = header[1:5], header[5:21], header[21:]
    # The id is public and only chooses one of the ring's keys, so the comparison tells an attacker nothing.
    for master in conf.keys:
        if _key_id(master) == key_id:
            try:
                return _cipher(master, purpose, salt, context).decrypt(nonce, raw[_HEADER_BYTES:], header)
            except InvalidTag:
                continue
    raise CannotOpen


def key_ids() -> list[str]:
    """The ids of the ring's keys, newest first, in hex. They are public: each sealed text has one."""
    return [_key_id(master).hex() for master in conf.keys]


def sealing_key_id(beginning: str) -> str:
    """The id, in hex, of the key that sealed a text. `beginning` has at least KEY_ID_CHARACTERS.

    Raises CannotOpen for a text that does not begin like a sealed one.
    """
    try:
        # Seven characters are 42 bits: the 40 of version and key id, and two of the salt.
        raw = base64.urlsafe_b64decode(beginning[:KEY_ID_CHARACTERS] + "=")
    except (ValueError, binascii.Error) as error:
        raise CannotOpen from error
    if raw[:1] != _VERSION or len(raw) != len(_VERSION) + _ID_BYTES:
        raise CannotOpen
    return raw[1:].hex()


def _cipher(master: str, purpose: Purpose, salt: bytes, context: bytes) -> AESGCM:
    mac = _purpose_mac(master, purpose).copy()
    mac.update(salt + context)
    return AESGCM(mac.digest())


@functools.lru_cache(maxsize=64)
def _purpose_mac(master: str, purpose: str) -> hmac.HMAC:
    """An HMAC that has read only its key, which takes half of the time. Callers copy it and never change it."""
    return hmac.new(_purpose_key(master, purpose), digestmod=hashlib.sha256)


@functools.lru_cache(maxsize=64)
def _purpose_key(master: str, purpose: str) -> bytes:
    info = b"accounts.sealing 1: " + purpose.encode()
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info).derive(master.encode())


@functools.lru_cache(maxsize=64)
def _key_id(master: str) -> bytes:
    return _purpose_key(master, "key id")[:_ID_BYTES]


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _decode(text: str) -> bytes:
    """Decode strict base64url: each value has exactly one text. Otherwise a changed cookie could still be valid."""
    try:
        data = text.encode("ascii").translate(_TO_PLAIN_BASE64)
        data += b"=" * (-len(data) % 4)
        raw = binascii.a2b_base64(data, strict_mode=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise CannotOpen from error
    # Some bits of the last four characters may belong to no byte, and decoding ignores them.
    if binascii.b2a_base64(raw[-(len(raw) % 3 or 3) :], newline=False) != data[-4:]:
        raise CannotOpen
    return raw
