"""Whether what the site sends piece by piece arrives piece by piece."""

import time

from accounts.doctor.endpoint import PIECE_INTERVAL_SECONDS, PIECES, Order
from accounts.doctor.findings import Finding, Findings, ok, problem_in_production
from accounts.doctor.visits import Visit, sent

_SENT_WITHIN_SECONDS = (PIECES - 1) * PIECE_INTERVAL_SECONDS
_READ_BYTES = 64 * 1024
_ADVICE = (
    "Turn buffering and compression off for this site in each proxy (nginx: proxy_buffering off, gzip off; "
    "X-Accel-Buffering: no is sent already), and serve it by WSGI: under ASGI, Django holds streams back."
)


def examine_streams(visit: Visit) -> Findings:
    yield _stream(visit, "site.streamed-page", Order.STREAM_PAGE)
    yield _stream(visit, "site.event-stream", Order.STREAM_EVENTS)


def _stream(visit: Visit, name: str, order: Order) -> Finding:
    arrivals = _arrivals(visit, order)
    if _held_back(arrivals):
        # A hiccup of this host looks the same.
        arrivals = _arrivals(visit, order)
    if len(arrivals) < PIECES:
        found = f"{len(arrivals)} of {PIECES} pieces of a stream arrived."
        return problem_in_production(name, found, _ADVICE, debug=visit.debug)
    span = arrivals[-1] - arrivals[0]
    found = f"{PIECES} pieces, sent over {_SENT_WITHIN_SECONDS:.1f} s, arrived "
    if _held_back(arrivals):
        found += f"within {span:.1f} s: something on the way holds them back."
        return problem_in_production(name, found, _ADVICE, debug=visit.debug)
    return ok(name, f"{found}over {span:.1f} s, one by one.")


def _arrivals(visit: Visit, order: Order) -> list[float]:
    """When each piece was there, by time.monotonic(). Raises TROUBLE."""
    body, arrivals = b"", list[float]()
    with sent(visit.url, order) as response:
        while response.status_code == 200 and (read := response.raw.read1(_READ_BYTES, decode_content=True)):
            body += read
            arrivals += [time.monotonic()] * (body.count(b"piece") - len(arrivals))
    return arrivals


def _held_back(arrivals: list[float]) -> bool:
    return len(arrivals) < PIECES or arrivals[-1] - arrivals[0] < _SENT_WITHIN_SECONDS / 2
