"""The module that Django loads for the ENGINE "config.postgresql"."""

import os
import time
from typing import Any, Self

from django.db import DEFAULT_DB_ALIAS
from django.db.backends.postgresql import base
from psycopg_pool import ConnectionPool, PoolTimeout
from psycopg_pool.pool import WaitingClient

from config.postgresql import RESERVED_CONNECTIONS
from config.postgresql.connection import BoundedConnection, outage

#: How long a request waits for a connection while all are in use. Together with the time that the first statement of a
#: request may take (STATEMENT_SECONDS), a request waits for less than 15 seconds.
POOL_SECONDS = 4.0
#: After so long, `_take` asks the pool again, which then connects anew if it has to.
_TURN_SECONDS = 2.0
_RECONNECT_SECONDS = 0.25
_POOL_OPTIONS = {"connection_class": BoundedConnection, "reconnect_timeout": 0}


class DatabaseWrapper(base.DatabaseWrapper):
    """Takes only connections from the pool that are worth a try, and none during an outage, except to probe one."""

    def __init__(self, settings_dict: dict[str, Any], alias: str = DEFAULT_DB_ALIAS) -> None:
        super().__init__(settings_dict, alias)
        if pool := settings_dict["OPTIONS"].get("pool"):
            pool.update(_POOL_OPTIONS)

    def reserve(self) -> Self:
        """For what must not wait until others give a connection back: a wrapper with a pool of its own.

        The pools of all such wrappers are one, because Django finds a pool by the alias.
        """
        reserved = self.copy(alias=self._reserved_alias)
        reserved.settings_dict["OPTIONS"]["pool"]["max_size"] = RESERVED_CONNECTIONS
        reserved.execute_wrappers = self.execute_wrappers
        return reserved

    def close_pool(self) -> None:
        super().close_pool()
        pools: dict[str, ConnectionPool] = self._connection_pools  # type: ignore[attr-defined]
        if reserved := pools.pop(self._reserved_alias, None):
            reserved.close()

    @property
    def _reserved_alias(self) -> str:
        return f"{self.alias} (reserved)"

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        if not self.pool:
            return super().get_new_connection(conn_params)
        with outage.guard() as is_probe:
            connection = self._take(conn_params, patient=is_probe)
            if is_probe:
                try:
                    connection.probe()
                except BaseException:
                    self._discard(connection)
                    raise
            return connection

    def _take(self, conn_params: dict[str, Any], *, patient: bool) -> BoundedConnection:
        """A connection from the pool. Without `patient`, do not wait any longer when an outage begins."""
        give_up_at = time.monotonic() + POOL_SECONDS
        while True:
            # After the time is over, it asks once more: perhaps it was this process that stood still.
            is_last = time.monotonic() >= give_up_at
            # The pool serves those first who wait longest. But it does not try again by itself to connect.
            is_quick = is_last or not BoundedConnection.any_open()
            self.pool.timeout = _RECONNECT_SECONDS if is_quick else _TURN_SECONDS
            try:
                connection: BoundedConnection = super().get_new_connection(conn_params)
            except PoolTimeout:
                if is_last or (outage.is_running and not patient):
                    raise
                continue
            if connection.is_usable():
                return connection
            self._discard(connection)

    def _discard(self, connection: BoundedConnection) -> None:
        connection.close_for_good()
        self.pool.putconn(connection)


_wait_for_connection = WaitingClient.wait


def _wait_and_take_late(client: WaitingClient[Any], timeout: float) -> Any:
    """As psycopg_pool does. But a client that gets its connection at the moment of the timeout takes it.

    From 3.3.1 on, psycopg_pool raises a PoolTimeout and gives the connection to the next client. With gevent and many
    greenlets, that one comes too late as well, and so do the others: all time out while connections are free.
    """
    try:
        return _wait_for_connection(client, timeout)
    except PoolTimeout:
        if client.conn is None:
            raise
        return client.conn


WaitingClient.wait = _wait_and_take_late  # type: ignore[assignment, method-assign]


def _forget_pools() -> None:
    """A forked process must not use the connections of its parent, nor wait for the threads of the parent's pools."""
    pools: dict[str, ConnectionPool] = DatabaseWrapper._connection_pools  # type: ignore[attr-defined]
    pools.clear()


os.register_at_fork(after_in_child=_forget_pools)
