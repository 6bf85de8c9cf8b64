"""The module that Django loads for the ENGINE "config.postgresql"."""

import time
from typing import Any

from django.db import DEFAULT_DB_ALIAS
from django.db.backends.postgresql import base
from psycopg_pool import PoolTimeout

from config.postgresql.connection import BoundedConnection, outage

#: How long a request waits for a connection while all are in use. Together with the time that the first statement of a
#: request may take (STATEMENT_SECONDS), a request waits for less than 15 seconds.
POOL_SECONDS = 4.0


_POOL_OPTIONS = {
    "connection_class": BoundedConnection,
    # Seconds. `_take` asks again and again, and each time the pool connects anew if it has to.
    "timeout": 0.25,
    "reconnect_timeout": 0,
}


class DatabaseWrapper(base.DatabaseWrapper):
    """Takes only connections from the pool that are worth a try, and none during an outage, except to probe one."""

    def __init__(self, settings_dict: dict[str, Any], alias: str = DEFAULT_DB_ALIAS) -> None:
        super().__init__(settings_dict, alias)
        if pool := settings_dict["OPTIONS"].get("pool"):
            pool.update(_POOL_OPTIONS)

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
            try:
                connection: BoundedConnection = super().get_new_connection(conn_params)
            except PoolTimeout:
                if time.monotonic() >= give_up_at or (outage.is_running and not patient):
                    raise
                continue
            if connection.is_usable():
                return connection
            self._discard(connection)

    def _discard(self, connection: BoundedConnection) -> None:
        connection.close_for_good()
        self.pool.putconn(connection)
