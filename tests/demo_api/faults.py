"""Bad days on order: what a test can make happen to the next calls, between a network, a gateway and the API."""

import gzip
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tests.demo_api.gateway import Gateway
from tests.demo_api.messages import Answer, Request

GATE_SECONDS = 60.0
LOOK_UP_SECONDS = 0.02


class Gate:
    """
    Holds requests until the test lets them go; as a context manager it lets them go at the end.

    `reached` is set as soon as a request is there, `arrivals` counts them. An open gate stays open. A request that
    nobody lets go goes on by itself after `give_up_after` seconds.
    """

    def __init__(self, give_up_after: float = GATE_SECONDS) -> None:
        self.reached = threading.Event()
        self.arrivals = 0
        self._give_up_after = give_up_after
        self._open = threading.Event()
        self._lock = threading.Lock()

    def __enter__(self) -> "Gate":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        self._open.set()

    def hold(self, closing: threading.Event) -> None:
        """Called by the API: wait for `release`, or for the end of the API itself."""
        with self._lock:
            self.arrivals += 1
        self.reached.set()
        deadline = time.monotonic() + self._give_up_after
        while not closing.is_set() and (left := deadline - time.monotonic()) > 0:
            if self._open.wait(min(left, LOOK_UP_SECONDS)):
                return


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong. Make it with the class methods; `name` is what `Call.fault` will say."""

    name: str
    seconds: float = 0.0
    gate: Gate | None = None
    #: Answers in place of the API.
    reply: Callable[[Request], Answer] | None = field(default=None, repr=False)
    #: Makes what arrives of what the API answered.
    change: Callable[[Answer], Answer] | None = field(default=None, repr=False)

    @classmethod
    def answer(
        cls,
        status: int,
        body: bytes | dict[str, Any] = b"",
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> "Fault":
        """This answer instead of the API's, which never sees the request: a gateway's error page, a redirect, junk."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = Answer(status, content, {"Content-Type": content_type, **(headers or {})})
        return cls("answer", reply=lambda request: answer)

    @classmethod
    def gateway(cls, gateway: Gateway) -> "Fault":
        """The gateway answers, and the API never sees the request. For all paths: `RecordedApi.behind_gateway`."""
        return cls("gateway", reply=gateway.answer)

    @classmethod
    def success_status(cls, status: int) -> "Fault":
        """The API does what it was asked to. Where it succeeds, its answer has this status: 201, 202, 203 or 206."""
        return cls(
            "success_status", change=lambda answer: replace(answer, status=status) if _succeeds(answer) else answer
        )

    @classmethod
    def fields(cls, **fields: Any) -> "Fault":
        """The API does what it was asked to. Where it succeeds, these fields of its JSON are others.

        `refreshToken=""` and `expires_in=0` set a value, and a function makes it of the API's own value:
        `accessToken=lambda token: token + "\x07"`. The API still knows the tokens that it made.
        """
        return cls("fields", change=lambda answer: _with_fields(answer, fields) if _succeeds(answer) else answer)

    @classmethod
    def byte_order_mark(cls) -> "Fault":
        """The API's answer begins with U+FEFF, as some servers write their JSON."""
        return cls("byte_order_mark", change=lambda answer: replace(answer, body=b"\xef\xbb\xbf" + answer.body))

    @classmethod
    def cut_gzip(cls) -> "Fault":
        """The API's answer is compressed, and the second half of it is missing. As HTTP it is complete."""
        return cls("cut_gzip", change=_cut_gzip)

    @classmethod
    def quiet_event_stream(cls, gate: Gate) -> "Fault":
        """An event stream in place of the API's answer: its headers come at once, its one event waits at the gate."""
        headers = {"Content-Type": "text/event-stream"}
        return cls(
            "quiet_event_stream",
            gate=gate,
            reply=lambda request: Answer(200, headers=headers, stream=iter([b"data: tide\n\n"])),
        )

    @classmethod
    def delay(cls, seconds: float) -> "Fault":
        """The request takes so many seconds to arrive; then all is well."""
        return cls("delay", seconds=seconds)

    @classmethod
    def reset(cls) -> "Fault":
        """The connection breaks (RST) before the API does anything."""
        return cls("reset")

    @classmethod
    def lose_answer(cls) -> "Fault":
        """The API does what it was asked to, and the connection breaks (RST) in place of the answer."""
        return cls("lose_answer")

    @classmethod
    def dribble(cls, interval: float) -> "Fault":
        """The answer, head and body, comes byte by byte with `interval` seconds in between."""
        return cls("dribble", seconds=interval)

    @classmethod
    def hold_before(cls, gate: Gate) -> "Fault":
        """The request waits at the gate before the API looks at it."""
        return cls("hold_before", gate=gate)

    @classmethod
    def hold_after(cls, gate: Gate) -> "Fault":
        """The API has done what it was asked to; its answer waits at the gate."""
        return cls("hold_after", gate=gate)

    def wait_before(self, closing: threading.Event) -> None:
        if self.name == "delay":
            closing.wait(self.seconds)
        elif self.name == "hold_before" and self.gate:
            self.gate.hold(closing)

    def wait_after(self, closing: threading.Event) -> None:
        if self.name == "hold_after" and self.gate:
            self.gate.hold(closing)

    def wait_in_body(self, closing: threading.Event) -> None:
        """Between the head and the body of a streamed answer."""
        if self.name == "quiet_event_stream" and self.gate:
            self.gate.hold(closing)


NO_FAULT = Fault("")


@dataclass(slots=True)
class _Order:
    method: str
    path_prefix: str
    fault: Fault
    times: int | None


class FaultPlan:
    """The faults on order. Each request takes at most one: the first registered that fits and is not used up.

    While a `gateway` is in front, it answers everything.
    """

    def __init__(self) -> None:
        self.gateway: Gateway | None = None
        self._orders: list[_Order] = []
        self._lock = threading.Lock()

    def add(self, method: str, path_prefix: str, fault: Fault, times: int | None) -> None:
        with self._lock:
            self._orders.append(_Order(method, path_prefix, fault, times))

    def clear(self) -> None:
        with self._lock:
            self._orders.clear()
            self.gateway = None

    def take(self, method: str, path: str) -> Fault:
        with self._lock:
            if self.gateway is not None:
                return Fault.gateway(self.gateway)
            for order in self._orders:
                if order.method == method and path.startswith(order.path_prefix) and order.times != 0:
                    if order.times is not None:
                        order.times -= 1
                    return order.fault
        return NO_FAULT


def _succeeds(answer: Answer) -> bool:
    return 200 <= answer.status < 300


def _with_fields(answer: Answer, fields: Mapping[str, Any]) -> Answer:
    payload = json.loads(answer.body)
    for name, value in fields.items():
        payload[name] = value(payload.get(name)) if callable(value) else value
    return replace(answer, body=json.dumps(payload).encode())


def _cut_gzip(answer: Answer) -> Answer:
    content = gzip.compress(answer.body if answer.stream is None else b"".join(answer.stream))
    headers = {**answer.headers, "Content-Encoding": "gzip"}
    return replace(answer, body=content[: len(content) // 2], headers=headers, stream=None)
