"""The device cookie: it says until when the device of a session has proven its key. Sealed for a purpose of its own.

Its name has a part of the session's id. So a late response of an older session of the browser cannot replace it.
"""

import re
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from accounts.conf import conf
from accounts.session.sealing import CannotOpen, Purpose, open_sealed, seal

_NAME = re.compile(r"[0-9a-f]{8}")
#: The browser forgets the cookie so long before it expires here: the clocks of two hosts may differ by a minute, and a
#: request may be under way.
_MARGIN_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class DeviceProof:
    """The key of the device, and when its proof expires, in seconds since the epoch."""

    key: str = field(repr=False)
    expires_at: float


def cookie_name(session_id: UUID) -> str:
    return f"{conf.cookie_name}-device-{session_id.hex[:8]}"


def cookie_names(cookies: Mapping[str, str]) -> list[str]:
    """The names of the device cookies among the cookies, of any session."""
    prefix = f"{conf.cookie_name}-device-"
    return [name for name in cookies if name.startswith(prefix) and _NAME.fullmatch(name, len(prefix))]


def cookie_seconds() -> int:
    """For how long the browser keeps the cookie."""
    seconds = conf.device_proof_seconds
    return max(1, int(seconds - min(_MARGIN_SECONDS, seconds / 4)))


def seal_cookie(session_id: UUID, key: str) -> str:
    expires_at = time.time() + conf.device_proof_seconds
    return seal(Purpose.DEVICE, struct.pack(">d", expires_at) + key.encode(), context=session_id.bytes)


def read_cookie(cookies: Mapping[str, str], session_id: UUID) -> DeviceProof | None:
    """The proof in the cookie of this session, which may have expired; None if there is none."""
    text = cookies.get(cookie_name(session_id))
    if not text:
        return None
    try:
        data = open_sealed(Purpose.DEVICE, text, context=session_id.bytes)
        return DeviceProof(data[8:].decode(), struct.unpack(">d", data[:8])[0])
    except (CannotOpen, struct.error, UnicodeDecodeError):
        return None
