"""What every log line has, whoever writes it."""

import logging

from accounts.exchange import current_exchange


class ExchangeFilter(logging.Filter):
    """Adds `request_id`: that of the request which the thread works on; empty outside of requests."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not hasattr(record, "request_id"):
            record.request_id = current_exchange().request_id
        return True
