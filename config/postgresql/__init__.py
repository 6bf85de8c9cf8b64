"""Django's PostgreSQL backend with a pool, for a database that may hang. settings.py uses it in place of Django's."""

#: Writes a few bytes, and so waits for a synchronous standby too. A read-only server refuses it.
PROBE = "SELECT pg_logical_emit_message(true, 'site', '')"

#: Connections of a process that only `DatabaseWrapper.reserve` uses.
RESERVED_CONNECTIONS = 2
