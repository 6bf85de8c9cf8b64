"""Log lines: with the request id, and without the queries of addresses, which may hold codes and other secrets."""

import logging
import math
import re
import time
from typing import Any

from django.http import HttpRequest
from django.utils.log import ServerFormatter
from opentelemetry.trace import format_span_id, format_trace_id
from pythonjsonlogger.json import JsonFormatter

from accounts.conf import conf
from accounts.telemetry.request_id import current_request_ids
from accounts.telemetry.spans import current_span

_MINUTE_SECONDS = 60.0
#: The white space that no address contains.
_WORD = re.compile(r"[^ \t\r\n]+")


class RequestIdFilter(logging.Filter):
    """Adds `request_id`, the id of the request that the thread handles; empty outside of requests.

    Inside a span of OpenTelemetry, adds `trace_id` and `span_id` too.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if not hasattr(record, "request_id"):
            record.request_id = current_request_ids().request_id
        if conf.spans and (span := current_span()).is_valid:
            record.trace_id, record.span_id = format_trace_id(span.trace_id), format_span_id(span.span_id)
        return True


class OnceAMinuteFilter(logging.Filter):
    """Passes each kind of message once a minute. The kinds are those of a program: texts without their arguments."""

    def __init__(self) -> None:
        super().__init__()
        self._passed: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now, kind = time.monotonic(), str(record.msg)
        if now - self._passed.get(kind, -math.inf) < _MINUTE_SECONDS:
            return False
        self._passed[kind] = now
        return True


def without_queries(text: str) -> str:
    """The text without the query of each path or URL in it, up to the next white space."""
    return _WORD.sub(_without_query, text) if "?" in text else text


def _without_query(word: re.Match[str]) -> str:
    address, mark, query = word[0].partition("?")
    return address if mark and ("/" in address or "=" in query) else word[0]


class LineFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("{asctime} {levelname} {name} {message}", style="{")

    def format(self, record: logging.LogRecord) -> str:
        return without_queries(super().format(record))


class RunserverFormatter(ServerFormatter):
    """Formats the requests that `runserver` shows."""

    def __init__(self) -> None:
        super().__init__("[{server_time}] {message}", style="{")

    def format(self, record: logging.LogRecord) -> str:
        return without_queries(super().format(record))


class JsonLineFormatter(JsonFormatter):
    """One JSON object for each line. Each value that is logged with `extra` becomes a field."""

    def __init__(self) -> None:
        super().__init__(
            "{asctime}{levelname}{name}{message}{request_id}",
            style="{",
            datefmt="%Y-%m-%dT%H:%M:%S%z",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
        )

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        return {name: _loggable(value) for name, value in super().process_log_record(log_data).items()}


def _loggable(value: Any) -> Any:
    if isinstance(value, HttpRequest):
        return f"<{type(value).__name__}: {value.method} {value.path!r}>"
    return without_queries(value) if isinstance(value, str) else value
