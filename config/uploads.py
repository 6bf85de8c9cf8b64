"""Uploads that get their response before they are read, such as a 401, 403, 404 or 413.

A server that closes a connection with unread data resets it. Behind nginx, the browser then gets a 502 instead of the
response. So the rest of the body is read after the response is sent.
"""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from django.core.handlers.wsgi import WSGIHandler

from config.charset import Utf8WSGIRequest

#: More than nginx accepts (client_max_body_size in deployment/nginx.conf).
MAX_BYTES = 32 * 1024 * 1024
#: After this time a slow client loses its connection.
MAX_SECONDS = 20.0
_PIECE_BYTES = 64 * 1024


class SiteHandler(WSGIHandler):
    """Django's WSGI application, for requests with any Content-Type and with a body that is not read."""

    request_class = Utf8WSGIRequest

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        response = super().__call__(environ, start_response)
        has_body = environ.get("CONTENT_LENGTH") not in (None, "", "0") or "HTTP_TRANSFER_ENCODING" in environ
        return _ResponseToUpload(response, environ) if has_body else response


class _ResponseToUpload:
    """A response that reads the rest of the request's body when the server closes it, after it is sent."""

    def __init__(self, response: Any, environ: dict[str, Any]) -> None:
        self._response = response
        self._body = environ["wsgi.input"]
        # Other servers do not give it. There, the time is checked between two pieces only.
        self._connection = environ.get("gunicorn.socket")

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._response)

    def close(self) -> None:
        self._response.close()
        # A read waits for a whole piece, however slowly its bytes come.
        timer = threading.Timer(MAX_SECONDS, self._stop_reading)
        is_read = False
        # Errors mean that the client is gone, that its chunks are broken, or that the system has no more threads.
        with suppress(Exception):
            timer.start()
            is_read = _read_rest(self._body)
        timer.cancel()
        if not is_read:
            self._stop_reading()

    def _stop_reading(self) -> None:
        """gunicorn then closes the connection, and does not wait for the rest."""
        with suppress(OSError):
            if self._connection:
                self._connection.shutdown(socket.SHUT_RD)


def _read_rest(body: Any) -> bool:
    """Whether the body ends within MAX_BYTES and MAX_SECONDS."""
    give_up_at = time.monotonic() + MAX_SECONDS
    for _ in range(MAX_BYTES // _PIECE_BYTES):
        if time.monotonic() > give_up_at:
            return False
        if not body.read(_PIECE_BYTES):
            return True
    return False
