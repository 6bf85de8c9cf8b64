"""The API session: the state of one sign-in, sealed in the browser's cookie."""

import json
import os
import struct
import time
import zlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from accounts.conf import conf
from accounts.session.sealing import CannotOpen, Purpose, open_sealed, seal
from accounts.session.tokens import TokenPair, User

# Tokens of ordinary size fit into one cookie. Compressing those would cost each request more than it saves.
_DEFLATE_FROM_BYTES = 2800
# More than the largest cookies can inflate to, so each cookie that was written can be read.
_MAX_BYTES = 16 * 1024 * 1024

SESSION_UPDATE_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionIdentity:
    """The id and the secret of one sign-in: random, or derived from texts that only this browser sends.

    All requests that derive them from the same texts make, or find, the same session.
    """

    id: UUID
    secret: bytes = field(repr=False)

    @classmethod
    def random(cls) -> "SessionIdentity":
        return cls(id=uuid4(), secret=os.urandom(16))

    @classmethod
    def derive(cls, *, id_from: str, secret_from: str) -> "SessionIdentity":
        """Both texts contain a random part that is used for one sign-in. Nothing in the id tells of `secret_from`."""
        return cls(id=UUID(bytes=_derive("id", id_from), version=4), secret=_derive("secret", secret_from))


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSession:
    """One generation of one sign-in.

    `secret` is made at sign-in, and is nowhere but in the cookie. Only with it can the sealed copy in the record be
    opened. `confirmed` says that the browser has sent this generation. `signed_in_at` is in seconds since the epoch.
    `device` is the public key of the device that the session is bound to (`device_key.py`); empty if it is unbound.
    """

    id: UUID
    secret: bytes = field(repr=False)
    user: User
    tokens: TokenPair
    generation: int
    confirmed: bool
    signed_in_at: float
    device: str = field(default="", repr=False)

    @classmethod
    def begin(
        cls,
        user: User,
        tokens: TokenPair,
        *,
        identity: SessionIdentity | None = None,
        after: "ApiSession | None" = None,
    ) -> "ApiSession":
        """The session of a new sign-in: generation 0, with this `identity` or a random one.

        It counts as newer than the session `after` which it comes, even if the clock of that session's host was ahead.
        """
        identity = identity or SessionIdentity.random()
        return cls(
            id=identity.id,
            secret=identity.secret,
            user=user,
            tokens=tokens,
            generation=0,
            confirmed=True,
            signed_in_at=max(time.time(), after.signed_in_at + 1 if after else 0.0),
        )

    def rotated(self, tokens: TokenPair, user: User | None = None) -> "ApiSession":
        """The next generation, which no browser has sent yet. `user` is the same user with newer claims."""
        return replace(self, tokens=tokens, user=user or self.user, generation=self.generation + 1, confirmed=False)

    def known_end(self) -> float | None:
        """When the session ends although it is used, in seconds since the epoch; None if that is unknown."""
        return _earliest(self._end_by_age(), self.tokens.final_expiry())

    def expiry(self) -> datetime | None:
        """When the session ends if it is not used from now on; None if unknown."""
        tokens = self.tokens
        unused_until = _later(tokens.used_until(), conf.idle_timeout)
        expires_at = _earliest(self._end_by_age(), tokens.refresh_expires_at, unused_until)
        return None if expires_at is None else datetime.fromtimestamp(expires_at, UTC)

    def is_too_old(self, now: float) -> bool:
        """Whether API_SESSION_MAX_AGE has passed at `now`, in seconds since the epoch."""
        end = self._end_by_age()
        return end is not None and end <= now

    def is_idle(self, now: float) -> bool:
        """Whether API_SESSION_IDLE_TIMEOUT has passed at `now`; never, if the access token's expiry is unknown."""
        end = _later(self.tokens.used_until(), conf.idle_timeout)
        return end is not None and end <= now

    def _end_by_age(self) -> float | None:
        return _later(self.signed_in_at, conf.max_age)

    def seal_for_cookie(self) -> str:
        return seal(Purpose.COOKIE, self._to_bytes())

    def seal_for_record(self) -> str:
        """Opens only with this session's own cookie. A stolen database is not enough, even together with the keys."""
        return seal(Purpose.RECORD, self._to_bytes(), context=self.id.bytes + self.secret)

    @classmethod
    def open_cookie(cls, text: str) -> "ApiSession":
        """Raises CannotOpen."""
        return cls._from_bytes(open_sealed(Purpose.COOKIE, text))

    def open_record(self, text: str) -> "ApiSession":
        """The session from the sealed copy in this session's record. Raises CannotOpen."""
        return self.open_record_of(SessionIdentity(id=self.id, secret=self.secret), text)

    @classmethod
    def open_record_of(cls, identity: SessionIdentity, text: str) -> "ApiSession":
        """The session from the sealed copy in the record with this identity. Raises CannotOpen."""
        return cls._from_bytes(open_sealed(Purpose.RECORD, text, context=identity.id.bytes + identity.secret))

    def seal_for_update(self) -> str:
        """A session update: it opens only at its own endpoint, and only for 60 seconds."""
        return seal(Purpose.SESSION_UPDATE, struct.pack(">d", time.time()) + self._to_bytes())

    @classmethod
    def open_update(cls, text: str) -> "ApiSession":
        """Raises CannotOpen, also for a session update that is more than 60 seconds old."""
        data = open_sealed(Purpose.SESSION_UPDATE, text)
        if len(data) < 8:
            raise CannotOpen
        (sealed_at,) = struct.unpack(">d", data[:8])
        # The clock of the host that sealed it may be ahead of the clock of this host.
        if abs(time.time() - sealed_at) > SESSION_UPDATE_SECONDS:
            raise CannotOpen
        return cls._from_bytes(data[8:])

    def _to_bytes(self) -> bytes:
        tokens, user = self.tokens, self.user
        fields = [
            self.id.hex,
            self.secret.hex(),
            # Older releases ignore fields that they do not know.
            [
                *(user.id, user.name, user.email),
                *_without_last_defaults(
                    [user.claims_by_source or None, self.device or None, user.authenticated_at, user.acr or None]
                ),
            ],
            [
                *(tokens.access, tokens.refresh, tokens.received_at),
                *(tokens.access_expires_at, tokens.refresh_expires_at),
                *_without_last_defaults(
                    [
                        *(tokens.rejected_at, tokens.refresh_is_final or None, tokens.refresh_failed_at),
                        tokens.dpop_key or None,
                    ]
                ),
            ],
            self.generation,
            self.confirmed,
            self.signed_in_at,
        ]
        data = json.dumps(fields, separators=(",", ":")).encode()
        return data if len(data) < _DEFLATE_FROM_BYTES else zlib.compress(data)

    @classmethod
    def _from_bytes(cls, data: bytes) -> "ApiSession":
        """Raises CannotOpen for fields that only another release writes."""
        try:
            fields: list[Any] = json.loads((data if data[:1] == b"[" else _inflate(data)).decode())
            id_, secret, user, tokens, generation, confirmed, signed_in_at = fields
            return cls(
                id=UUID(int=int(id_, 16)),
                secret=bytes.fromhex(secret),
                user=User(
                    id=user[0],
                    name=user[1],
                    email=user[2],
                    claims_by_source=(user[3] if len(user) > 3 else None) or {},
                    authenticated_at=user[5] if len(user) > 5 else None,
                    acr=(user[6] if len(user) > 6 else None) or "",
                ),
                tokens=TokenPair(
                    access=tokens[0],
                    refresh=tokens[1],
                    received_at=tokens[2],
                    access_expires_at=tokens[3],
                    refresh_expires_at=tokens[4],
                    rejected_at=tokens[5] if len(tokens) > 5 else None,
                    refresh_is_final=len(tokens) > 6 and bool(tokens[6]),
                    refresh_failed_at=tokens[7] if len(tokens) > 7 else None,
                    dpop_key=str(tokens[8] or "") if len(tokens) > 8 else "",
                ),
                generation=generation,
                confirmed=confirmed,
                signed_in_at=signed_in_at,
                device=str(user[4] or "") if len(user) > 4 else "",
            )
        except (ValueError, TypeError, LookupError, AttributeError, zlib.error) as error:
            raise CannotOpen from error


def _without_last_defaults(values: list[Any]) -> list[Any]:
    while values and values[-1] is None:
        values.pop()
    return values


def _later(start: float | None, seconds: float | None) -> float | None:
    return None if start is None or seconds is None else start + seconds


def _earliest(*times: float | None) -> float | None:
    return min((at for at in times if at is not None), default=None)


def _derive(use: str, text: str) -> bytes:
    """16 bytes by HKDF (RFC 5869). `text` has enough randomness for a key."""
    info = b"accounts session identity 1: " + use.encode()
    return HKDF(algorithm=hashes.SHA256(), length=16, salt=None, info=info).derive(text.encode(errors="replace"))


def _inflate(data: bytes) -> bytes:
    inflater = zlib.decompressobj()
    plain = inflater.decompress(data, _MAX_BYTES)
    if not inflater.eof:
        raise CannotOpen
    return plain
