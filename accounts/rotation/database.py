"""The database of the session records: its errors, open transactions, and the connections reserved for stores."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import Error as AnyDatabaseError
from django.db import connections, router, transaction

from accounts.database_pool import give_back_connections
from accounts.exceptions import DatabaseUnavailable
from accounts.models import SessionRecord

logger = logging.getLogger(__name__)


@contextmanager
def database_errors_as_unavailable() -> Iterator[None]:
    """A database error signs no user out. The request gets a 503, and works again when the database is back."""
    try:
        yield
    except AnyDatabaseError as error:
        drop_broken_connection()
        logger.error("the session records cannot be reached: %s", type(error).__name__)
        raise DatabaseUnavailable("the session records cannot be reached") from error


def connect() -> None:
    """Connect to the database, if this thread is not. An error after this may come from a statement that it sent."""
    connections[_database()].ensure_connection()


def drop_broken_connection() -> None:
    connection = connections[_database()]
    if not connection.in_atomic_block:
        connection.close_if_unusable_or_obsolete()


@contextmanager
def reserved_connection() -> Iterator[None]:
    """In this block, this thread uses a database connection that only such blocks can take from the pool.

    Without `config.postgresql`, and in an open transaction, it uses the usual one.
    """
    alias = _database()
    give_back_connections()
    usual = connections[alias]
    if getattr(usual, "pool", None) is None or not hasattr(usual, "reserve") or usual.connection is not None:
        yield
        return
    connections[alias] = reserved = usual.reserve()
    try:
        yield
    finally:
        connections[alias] = usual
        reserved.close()


def refuse_open_transaction() -> None:
    """A rollback after the API spent the refresh token would lose the only valid pair."""
    if in_open_transaction():
        raise transaction.TransactionManagementError(
            "A session cannot be rotated inside transaction.atomic() or ATOMIC_REQUESTS: a rollback would lose the "
            "tokens that the API has just issued. Call the API, or request.api_session.ensure_fresh(), before the "
            "transaction begins."
        )


def in_open_transaction() -> bool:
    """Whether a later rollback could undo a statement of now. The transaction of a TestCase does not count."""
    connection = connections[_database()]
    if connection.connection is None:
        return False
    blocks = connection.atomic_blocks
    return any(not getattr(block, "_from_testcase", False) for block in blocks) or not (blocks or connection.autocommit)


def _database() -> str:
    return router.db_for_write(SessionRecord)
