"""One call to the API, as it is reported: a metric, a step of the request trace, and a span."""

import time
from collections.abc import Callable
from typing import Self

from requests import PreparedRequest

from accounts.conf import conf
from accounts.exceptions import ApiMisbehaved
from accounts.telemetry.spans import end_call_span, start_call_span
from accounts.telemetry.trace import add_call, redact_path


class ReportedCall:
    """A context manager around one call. The block sets `status` when there is a response.

    A block that fails has no complete response. A response that is too large (ApiMisbehaved) counts as complete.
    """

    def __init__(self, request: PreparedRequest, time_call: Callable[[int | None, float], None]) -> None:
        self._request, self._time_call = request, time_call
        self.status: int | None = None

    def __enter__(self) -> Self:
        self._since = time.monotonic()
        self._span = start_call_span(self._request, redact_path(self._request.path_url)) if conf.spans else None
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        status = self.status if error is None or issubclass(error, ApiMisbehaved) else None
        self._time_call(status, time.monotonic() - self._since)
        add_call(self._request.method, self._request.path_url, status=status, since=self._since)
        if self._span is not None:
            end_call_span(self._span, status, error)
