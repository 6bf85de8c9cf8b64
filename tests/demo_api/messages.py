"""What goes over the wire, as values: a request read, an answer to send, and the record of a call."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request, read to its end. `path` is without the query; header names are in lower case."""

    method: str
    path: str
    query: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)

    def json(self) -> Any:
        """The JSON in the body. Raises ValueError if there is none."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Answer:
    """
    One answer. `stream`, where given, is sent in chunks in place of `body`.

    `headers` win over those the server writes by itself (a `Content-Length` that lies, for one); `Connection: close`
    among them closes the connection too. `cookies` are the values of as many `Set-Cookie` headers.
    """

    status: int
    body: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    stream: Iterator[bytes] | None = field(default=None, repr=False)
    cookies: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def json(cls, status: int, payload: Any, **headers: str) -> "Answer":
        """A JSON answer; `headers` as keywords, `_` for `-` (`WWW_Authenticate="Bearer"`)."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return cls(status, json.dumps(payload).encode(), {"Content-Type": "application/json", **named})


class Problem(Exception):
    """The client's mistake: an answer with that status and `{"message": ...}`."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.answer = Answer.json(status, {"message": message}, **headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """
    One request that the API has finished with.

    `status` is that of the answer the API made (or `Fault.answer` in its place), also when a fault kept it from
    arriving, and 0 where there was none. `arrived` and `at` (completed, just before the first byte of the answer) are
    `time.monotonic()` seconds.
    """

    method: str
    path: str
    status: int
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    at: float
    fault: str | None
    arrived: float
    query: str = field(repr=False)

    def json(self) -> Any:
        """The JSON in the request's body. Raises ValueError if there is none."""
        return json.loads(self.body)


class Pair(NamedTuple):
    """An access token and the refresh token that came with it."""

    access: str
    refresh: str

    def __repr__(self) -> str:
        """Nothing: tokens do not print."""
        return "Pair(...)"
