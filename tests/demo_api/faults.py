"""Bad days on order: what a test can make happen to the next calls, between a network, a gateway and the API."""

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.demo_api.messages import Answer

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
    reply: Answer | None = field(default=None, repr=False)

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
        return cls("answer", reply=Answer(status, content, {"Content-Type": content_type, **(headers or {})}))

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


NO_FAULT = Fault("")


@dataclass(slots=True)
class _Order:
    method: str
    path_prefix: str
    fault: Fault
    times: int | None


class FaultPlan:
    """The faults on order. Each request takes at most one: the first registered that fits and is not used up."""

    def __init__(self) -> None:
        self._orders: list[_Order] = []
        self._lock = threading.Lock()

    def add(self, method: str, path_prefix: str, fault: Fault, times: int | None) -> None:
        with self._lock:
            self._orders.append(_Order(method, path_prefix, fault, times))

    def clear(self) -> None:
        with self._lock:
            self._orders.clear()

    def take(self, method: str, path: str) -> Fault:
        with self._lock:
            for order in self._orders:
                if order.method == method and path.startswith(order.path_prefix) and order.times != 0:
                    if order.times is not None:
                        order.times -= 1
                    return order.fault
        return NO_FAULT
