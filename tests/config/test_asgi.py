"""What an ASGI server sends besides HTTP requests."""

import asyncio
from typing import Any

import pytest

from config.asgi import application


@pytest.mark.parametrize(
    ("kind", "events", "responses"),
    [
        ("websocket", ["websocket.connect"], ["websocket.close"]),
        (
            "lifespan",
            ["lifespan.startup", "lifespan.shutdown"],
            ["lifespan.startup.complete", "lifespan.shutdown.complete"],
        ),
    ],
)
def test_a_websocket_is_refused_and_a_start_is_confirmed(kind: str, events: list[str], responses: list[str]) -> None:
    sent = []

    async def receive() -> dict[str, str]:
        return {"type": events.pop(0)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message["type"])

    asyncio.run(application({"type": kind, "path": "/"}, receive, send))

    assert sent == responses
