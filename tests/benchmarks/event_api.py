"""An API with thousands of event streams: `python -m tests.benchmarks.event_api PORT SECONDS`.

Each stream gets an event every so many seconds, beginning at a moment of its own. Their ids count from 1, or from the
`Last-Event-ID`. `GET /stop` ends that, and says how many events were sent. All else is as in `quick_api`.
"""

import asyncio
import random
import re
import sys

from tests.benchmarks.quick_api import QuickConnection, answer, serve

EVENTS = "/protected-route/events"
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_LAST = re.compile(rb"\r\nlast-event-id: (\d+)", re.IGNORECASE)


class EventConnection(QuickConnection):
    """One connection, which an event stream keeps to its end."""

    seconds = 0.0
    sent = 0

    def get(self, head: bytes) -> None:
        path = head.split()[1].decode()
        if path == EVENTS:
            last = _LAST.search(head)
            self._last = int(last[1]) if last else 0
            self.transport.write(_HEAD)
            self._wait(random.uniform(0, self.seconds))
        elif path == "/stop":
            EventConnection.seconds = 0.0
            self.send(answer({"sent": self.sent}))
        else:
            super().get(head)

    def _wait(self, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self._send_event)

    def _send_event(self) -> None:
        if not self.seconds or self.transport.is_closing():
            return
        self._last += 1
        EventConnection.sent += 1
        event = b'id: %d\ndata: {"station": "North Pier", "metres": 2.31, "wind": "SW 5"}\n\n' % self._last
        self.transport.write(b"%x\r\n%b\r\n" % (len(event), event))
        self._wait(self.seconds)


if __name__ == "__main__":
    EventConnection.seconds = float(sys.argv[2])
    asyncio.run(serve(int(sys.argv[1]), EventConnection))
