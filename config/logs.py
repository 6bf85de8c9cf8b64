"""The request id in every log line."""

import logging

from accounts.telemetry.request_id import current_request_ids


class RequestIdFilter(logging.Filter):
    """Adds `request_id`, the id of the request that the thread handles; empty outside of requests."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not hasattr(record, "request_id"):
            record.request_id = current_request_ids().request_id
        return True
