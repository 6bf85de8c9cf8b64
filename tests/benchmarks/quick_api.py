"""An API that answers at once: `python -m tests.benchmarks.quick_api PORT`. Every answer is ready before it starts.

With one more argument, it waits for so many seconds before each, at no cost to the machine.

It speaks as much of the token-pair contract as a page needs, and looks at no token: what a benchmark measures is the
site in front of it.
"""

import asyncio
import functools
import json
import sys
import time
from collections.abc import Callable
from functools import partial

import jwt

#: Long enough that no benchmark meets the end of a token.
_LIFE_SECONDS = 30 * 24 * 3600
_USER = {"id": 7, "email": "ada@example.com"}
ROWS = [
    {"station": station, "metres": metres, "wind": wind}
    for station, metres, wind in (("North Pier", 2.31, "SW 5"), ("Outer Beacon", 2.87, "SW 6"), ("Lock", 1.94, "S 4"))
]


def access_token() -> str:
    """A JWT of the size that identity providers hand out, for a user of whom they tell a little."""
    return _token(user=_USER, scope="openid profile email readings:read readings:write", roles=["editor", "reader"])


def _token(**claims: object) -> str:
    now = int(time.time())
    known = {"iss": "https://id.example.com/realms/readings", "aud": "https://api.example.com", "iat": now}
    return jwt.encode({**known, "exp": now + _LIFE_SECONDS, **claims}, "quick-api-only-" + "0" * 32, algorithm="HS256")


def answer(body: object) -> bytes:
    text = json.dumps(body).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text)


class QuickConnection(asyncio.Protocol):
    """One kept-alive connection. Requests have no body that matters, and come one after the other."""

    def __init__(self, seconds: float = 0.0) -> None:
        self._page, self._pair = ready_answers()
        self._seconds = seconds
        self._seen = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._seen += data
        head, end, body = self._seen.partition(b"\r\n\r\n")
        if not end:
            return
        if head.startswith(b"GET "):
            self.get(head)
        elif body.endswith(b"}"):
            self.send(self._pair)
        else:
            return
        self._seen = b""

    def get(self, head: bytes) -> None:
        self.send(self._page)

    def send(self, response: bytes) -> None:
        if self._seconds:
            asyncio.get_running_loop().call_later(self._seconds, self.transport.write, response)
        else:
            self.transport.write(response)


@functools.cache
def ready_answers() -> tuple[bytes, bytes]:
    """To every GET, and to a sign-in or refresh."""
    pair = {"accessToken": access_token(), "refreshToken": _token(sid="0" * 32, typ="Refresh")}
    return answer({"data": ROWS}), answer(pair)


async def serve(port: int, connection: Callable[[], QuickConnection]) -> None:
    server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), partial(QuickConnection, *map(float, sys.argv[2:]))))
