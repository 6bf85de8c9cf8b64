"""Log lines: with the request id, and without the queries of addresses, which may hold codes and other secrets."""

import logging
import re
from typing import Any

from django.http import HttpRequest
from django.utils.log import ServerFormatter
from pythonjsonlogger.json import JsonFormatter

from accounts.telemetry.request_id import current_request_ids

#: The white space that no address contains.
_WORD = re.compile(r"[^ \t\r\n]+")


class RequestIdFilter(logging.Filter):
    """Adds `request_id`, the id of the request that the thread handles; empty outside of requests."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not hasattr(record, "request_id"):
            record.request_id = current_request_ids().request_id
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
