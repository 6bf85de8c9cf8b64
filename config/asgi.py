"""The ASGI application. Synchronous middleware and views, and the API calls of asynchronous views, run in a thread of
their request.
"""

import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import django
from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.db import connections
from django.http import HttpResponseBase, StreamingHttpResponse

from accounts.history.background_writer import finish_writers
from accounts.shutdown import watch_for_shutdown
from accounts.telemetry.spans import finish_spans
from config.charset import Utf8ASGIRequest


class SiteHandler(ASGIHandler):
    """Django's ASGI application, for requests with any Content-Type. It sends each piece of a stream at once."""

    request_class = Utf8ASGIRequest

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        # Django raises a ValueError for these two, so any visitor could fill the log with tracebacks.
        if scope["type"] == "websocket":
            await receive()
            # The server refuses the connection with a 403.
            await send({"type": "websocket.close"})
        elif scope["type"] == "lifespan":
            while (await receive())["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            # uvicorn ends its process by a signal, which runs no `atexit` functions.
            await sync_to_async(finish_writers)()
            await sync_to_async(finish_spans)()
            await send({"type": "lifespan.shutdown.complete"})
        else:
            # Not at the start: granian sets its own handler after that.
            watch_for_shutdown()
            await super().__call__(scope, receive, send)

    async def send_response(self, response: HttpResponseBase, send: Any) -> None:
        if isinstance(response, StreamingHttpResponse) and not response.is_async:
            # Django would collect a synchronous body, and never send a byte of one that has no end.
            response.streaming_content = _in_thread(response.streaming_content)  # type: ignore[arg-type]
        await super().send_response(response, send)


async def _in_thread(body: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The pieces of `body`, which are made in the thread of the request."""
    while (piece := await _read(body)) is not None:
        yield piece


@sync_to_async
def _read(body: Iterator[bytes]) -> bytes | None:
    return next(body, None)


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup(set_prefix=False)

application = SiteHandler()
# A thread ends with its request. Nobody would use its connection again, and it would stay open for a while.
for database in connections.settings.values():
    database["CONN_MAX_AGE"] = 0
