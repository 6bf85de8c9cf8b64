"""The cookies of one browser, kept as browsers keep them (RFC 6265 section 5.3)."""

import threading
import time
from dataclasses import dataclass

#: Chrome and Firefox drop what is larger, and say nothing.
MAX_COOKIE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Cookie:
    """A value, the path that it is for, and when it goes (time.time()); None for the end of the browser."""

    value: str
    path: str
    expires_at: float | None


class CookieJar:
    """Later `Set-Cookie`s win. Secure cookies are kept too: browsers take the loopback address for a secure place."""

    def __init__(self, cookies: dict[str, Cookie] | None = None) -> None:
        self._cookies = dict(cookies or {})
        self._lock = threading.Lock()

    def apply(self, lines: list[str]) -> None:
        """Obey the Set-Cookie headers of one answer, in order."""
        with self._lock:
            for line in lines:
                self._apply(line)

    def header(self, path: str = "/") -> str:
        """The Cookie header for a request of now to this path."""
        now = time.time()
        with self._lock:
            living = {
                name: cookie.value
                for name, cookie in self._cookies.items()
                if path.startswith(cookie.path) and (cookie.expires_at is None or cookie.expires_at > now)
            }
        return "; ".join(f"{name}={value}" for name, value in living.items())

    def value(self, name: str) -> str:
        """One cookie's value; empty where there is none."""
        with self._lock:
            cookie = self._cookies.get(name)
        return cookie.value if cookie else ""

    def lives_for(self, name: str, seconds: float) -> bool:
        """Whether there is such a cookie, and it stays for longer than this."""
        with self._lock:
            cookie = self._cookies.get(name)
        return cookie is not None and (cookie.expires_at is None or cookie.expires_at > time.time() + seconds)

    def remove(self, name: str) -> None:
        with self._lock:
            self._cookies.pop(name, None)

    @property
    def csrf_token(self) -> str:
        """The value of the site's CSRF cookie, which has another name where cookies are Secure."""
        return self.value("__Host-csrftoken") or self.value("csrftoken")

    def copy(self) -> "CookieJar":
        with self._lock:
            return CookieJar(self._cookies)

    def _apply(self, line: str) -> None:
        pair, *attributes = [part.strip() for part in line.split(";")]
        name, _, value = pair.partition("=")
        known = {key.lower(): text for key, _, text in (attribute.partition("=") for attribute in attributes)}
        if "domain" in known or not known.get("path", "").endswith("/"):
            raise AssertionError(f"a cookie that is not for this host alone, or for no folder of it: {name}")
        # Django says Max-Age wherever it says Expires, and Max-Age wins.
        life = int(known["max-age"]) if "max-age" in known else None
        if life is not None and life <= 0:
            self._cookies.pop(name, None)
        elif len(line) <= MAX_COOKIE_BYTES:
            self._cookies[name] = Cookie(value, known["path"], None if life is None else time.time() + life)
