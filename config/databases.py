"""Limits and modes of each kind of database: no thread waits for a server that hangs, no stored rotation is lost."""

from typing import Any


def with_limits(database: dict[str, Any], *, pool_size: float, on_command_line: bool) -> dict[str, Any]:
    """`database`, an entry of Django's DATABASES, with the options of its kind.

    `pool_size` is the number of PostgreSQL connections that requests share. A command on the command line has no pool
    and no limits for locks and statements: migrations may take long.
    """
    database |= {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}
    options = database.setdefault("OPTIONS", {})
    if database["ENGINE"] == "django.db.backends.sqlite3":
        options |= {
            "timeout": 20,
            # A deferred transaction that begins to write can fail with "database is locked" in spite of the timeout.
            "transaction_mode": "IMMEDIATE",
            # FULL: a stored rotation survives a power failure. The API has spent the old token by then.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
        }
    elif database["ENGINE"] == "django.db.backends.postgresql":
        # For each host. The pool's other limits are in config/postgresql.
        options.setdefault("connect_timeout", 2)
        # Milliseconds until a dead server is noticed. Without it, a thread with a new token pair in hand waits for
        # minutes.
        options.setdefault("tcp_user_timeout", 5000)
        # PgBouncer may give each transaction another connection of the server, and these cursors live longer.
        database["DISABLE_SERVER_SIDE_CURSORS"] = True
        if not on_command_line:
            options.setdefault("options", "-c lock_timeout=3000 -c statement_timeout=5000")
            options["pool"] = {"min_size": 0, "max_size": pool_size}
            # Django's own check is a query for each connection that is taken. This backend has a cheaper one.
            database |= {"ENGINE": "config.postgresql", "CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": False}
    elif database["ENGINE"] == "django.db.backends.mysql":
        # Django stores times in UTC. Without this, the database's clock is in the time zone of its server.
        options.setdefault("init_command", "SET time_zone = '+00:00', innodb_lock_wait_timeout = 3")
        options.setdefault("connect_timeout", 2)
        if not on_command_line:
            options.setdefault("read_timeout", 6)
            options.setdefault("write_timeout", 6)
    return database
