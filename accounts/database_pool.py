"""Giving pooled database connections back, so that no thread has one while it waits for something else."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.db import connections
from django.http import StreamingHttpResponse

T = TypeVar("T")


def give_back_connections() -> None:
    """Give this thread's pooled connections back, except in an open transaction. The next query takes one again.

    Call it before a wait: a process has few connections (DATABASE_POOL_SIZE), and Django gives them back only when the
    response is sent.
    """
    for connection in _pooled_connections():
        if connection.connection is not None and not connection.in_atomic_block and connection.autocommit:
            connection.close()


async def run_and_give_back(call: Callable[..., T], *arguments: Any) -> T:
    """Run `call` in the thread of the request, for a coroutine, which may wait for long afterwards."""

    def run() -> T:
        try:
            return call(*arguments)
        finally:
            give_back_connections()

    return await sync_to_async(run)()


def give_back_connections_while_streaming(response: StreamingHttpResponse) -> None:
    """Give this thread's pooled connections back before each piece is sent, for as long as the body is a plain one."""
    if not response.is_async:
        response.streaming_content = _giving_back(response.streaming_content)  # type: ignore[arg-type]


def _giving_back(body: Iterable[bytes]) -> Iterator[bytes]:
    for piece in body:
        give_back_connections()
        _forget_unused_connections()
        yield piece


def _forget_unused_connections() -> None:
    """Django's object for a connection takes 10 KB, and thousands of streams may be open. The next query makes one."""
    for connection in _pooled_connections():
        if connection.connection is None:
            del connections[connection.alias]


def _pooled_connections() -> list[Any]:
    """This thread's connections from a pool. Without a pool in the settings, none is searched for."""
    if not any(database["OPTIONS"].get("pool") for database in connections.settings.values()):
        return []
    initialized = connections.all(initialized_only=True)
    return [connection for connection in initialized if getattr(connection, "pool", None) is not None]
