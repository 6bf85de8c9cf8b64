"""Sessions of any size, and a cookie jar that keeps them as browsers do."""

import random
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping

from django.http import HttpResponse, parse_cookie

from accounts.browser.cookies import write_cookies
from accounts.session.api_session import ApiSession
from accounts.session.tokens import TokenPair, User

TOKEN_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def random_token(length: int, seed: int = 0) -> str:
    """A token that compresses as badly as a real one."""
    return urlsafe_b64encode(random.Random(seed).randbytes(length)).decode()[:length]


def a_session(tokens_length: int = 600, *, seed: int = 0, refresh_life: float | None = 1800) -> ApiSession:
    """A session whose two tokens have `tokens_length` characters together."""
    now = time.time()
    access = random_token(max(1, tokens_length * 2 // 3), seed)
    refresh = random_token(max(1, tokens_length - len(access)), seed + 1)
    expires_at = None if refresh_life is None else now + refresh_life
    pair = TokenPair(
        access=access, refresh=refresh, received_at=now, access_expires_at=now + 1500, refresh_expires_at=expires_at
    )
    return ApiSession.begin(User(id=7, name="Ada", email="ada@example.com"), pair)


class Jar:
    """Keeps cookies as browsers do: silently drops a cookie that is too large, and deletes one with Max-Age=0."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    def receive(self, response: HttpResponse) -> None:
        for morsel in response.cookies.values():
            header = morsel.OutputString()
            pair, *attributes = header.split("; ")
            name, _, value = pair.partition("=")
            if len(header.encode()) > 4096 or (name.startswith("__Host-") and "Secure" not in attributes):
                continue
            if "Max-Age=0" in attributes:
                self.kept.pop(name, None)
            else:
                self.kept[name] = value

    def send(self) -> dict[str, str]:
        """The cookies that Django reads from the browser's next request."""
        return parse_cookie("; ".join(f"{name}={value}" for name, value in self.kept.items()))


def jar_with(session: ApiSession, presented: Mapping[str, str] | None = None, *, replacing: bool = False) -> Jar:
    """The jar of a browser that had the `presented` cookies, after a response that writes `session`."""
    jar = Jar()
    jar.kept.update(presented or {})
    response = HttpResponse()
    write_cookies(response, session, presented=jar.send(), replacing=replacing)
    jar.receive(response)
    return jar


def set_cookie_headers(session: ApiSession, *, replacing: bool = False) -> list[str]:
    response = HttpResponse()
    write_cookies(response, session, presented={}, replacing=replacing)
    return [morsel.OutputString() for morsel in response.cookies.values()]


def copy_name(session: ApiSession) -> str:
    return f"session-new-{session.id.hex[:8]}"
