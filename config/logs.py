"""What every log line has, whoever writes it."""

import logging

from accounts.telemetry.request_id import current_request_ids


class RequestIdFilter(logging.Filter):
    """Adds `request_id`: that of the request which the thread works on; empty outside of requests."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not hasattr(record, "request_id"):
            record.request_id = current_request_ids().request_id
        return True
