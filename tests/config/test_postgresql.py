"""The PostgreSQL backend with a pool. It connects only for a query, so these tests need no server."""

import os
import threading
from typing import Any

import pytest
from psycopg_pool import PoolTimeout
from psycopg_pool.pool import WaitingClient

from config.postgresql import RESERVED_CONNECTIONS
from config.postgresql.base import DatabaseWrapper


@pytest.fixture
def wrapper() -> DatabaseWrapper:
    values: dict[str, Any] = {"NAME": "site", "USER": "", "PASSWORD": "", "HOST": "", "PORT": "", "TIME_ZONE": None}
    pool = {"min_size": 0, "max_size": 6}
    return DatabaseWrapper({**values, "CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": False, "OPTIONS": {"pool": pool}}, "own")


def test_reserved_connections_are_a_pool_of_their_own(wrapper: DatabaseWrapper) -> None:
    first, second = wrapper.reserve(), wrapper.reserve()

    assert first.pool is second.pool is not wrapper.pool
    assert (wrapper.pool.max_size, first.pool.max_size) == (6, RESERVED_CONNECTIONS)

    first_pool = first.pool
    wrapper.close_pool()
    assert wrapper.reserve().pool is not first_pool


def test_a_connection_that_comes_at_the_moment_of_the_timeout_is_taken() -> None:
    """psycopg_pool raises a PoolTimeout, and passes the connection to the next client, which may be late as well."""
    client: WaitingClient[Any] = WaitingClient()
    connection: Any = object()

    class LateCondition(threading.Condition):
        def wait(self, timeout: float | None = None) -> bool:
            assert client.set(connection)
            return False

    client._cond = LateCondition()
    assert client.wait(1.0) is connection

    client = WaitingClient()
    with pytest.raises(PoolTimeout):
        client.wait(0.0)


def test_a_forked_process_does_not_share_its_parents_connections(wrapper: DatabaseWrapper) -> None:
    """As with gunicorn's --preload, if the site queries the database while it is loaded."""
    pools = wrapper.pool, wrapper.reserve().pool

    child = os.fork()
    if not child:
        os._exit(wrapper.pool in pools or wrapper.reserve().pool in pools)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
