"""The hosts of a PostgreSQL cluster. The site uses only one of them, so it does not notice when another is missing."""

from typing import Any

from django.db import Error as AnyDatabaseError
from django.db import connections, router
from django.db.backends.base.base import BaseDatabaseWrapper

from accounts.doctor.findings import Finding, Findings, ok, problem, warning
from accounts.models import SessionRecord

_DEFAULT_PORT = 5432


def database_hosts(values: dict[str, Any]) -> list[tuple[str, int]]:
    """The hosts and ports in a database's settings; one port counts for all hosts."""
    options = values.get("OPTIONS", {})
    hosts = str(values.get("HOST") or options.get("host") or "localhost").split(",")
    ports = str(values.get("PORT") or options.get("port") or _DEFAULT_PORT).split(",")
    if len(ports) < len(hosts):
        ports = ports[:1] * len(hosts)
    return [(host, int(port or _DEFAULT_PORT)) for host, port in zip(hosts, ports, strict=False)]


def has_several_hosts() -> bool:
    connection = connections[router.db_for_write(SessionRecord)]
    return connection.vendor == "postgresql" and len(database_hosts(connection.settings_dict)) > 1


def examine_database() -> Findings:
    """Each host of a cluster: the primary, a standby, or unavailable."""
    connection = connections[router.db_for_write(SessionRecord)]
    primaries, standby_names = 0, ""
    for number, (host, port) in enumerate(database_hosts(connection.settings_dict), start=1):
        name, place = f"database.host-{number}", f"{host}:{port}"
        try:
            is_standby, standby_names_here = _ask(connection, host, port)
        except AnyDatabaseError as error:
            advice = "Start it, or remove it from DATABASE_URL. Until then it cannot take over."
            yield warning(name, f"{place} is unavailable ({type(error).__name__}).", advice)
            continue
        if not is_standby:
            primaries, standby_names = primaries + 1, standby_names_here
        yield ok(name, f"{place} is {'a standby' if is_standby else 'the primary'}.")
    yield _primary(primaries, standby_names)


def _primary(primaries: int, standby_names: str) -> Finding:
    if not primaries:
        found = "No host accepts writes: users cannot sign in, and sessions cannot rotate."
        return problem("database.primary", found, "Promote a standby.")
    if primaries > 1:
        found = f"{primaries} hosts accept writes, so each of them has sessions that the others do not know."
        return problem("database.primary", found, "Stop all but the one that was promoted last.")
    if not standby_names:
        found = "Replication is asynchronous: a failover may lose the last rotations."
        return warning("database.primary", found, "Set synchronous_standby_names on the primary.")
    return ok("database.primary", f"Replication is synchronous ({standby_names}): a failover loses no rotation.")


def _ask(connection: BaseDatabaseWrapper, host: str, port: int) -> tuple[bool, str]:
    """Whether a host is a standby, and its synchronous_standby_names."""
    one = connection.copy()
    options = {**one.settings_dict["OPTIONS"], "target_session_attrs": "any"}
    for unused in ("host", "port", "pool"):
        options.pop(unused, None)
    one.settings_dict.update(HOST=host, PORT=str(port), OPTIONS=options)
    try:
        with one.cursor() as cursor:
            cursor.execute("SELECT pg_is_in_recovery(), current_setting('synchronous_standby_names')")
            is_standby, standby_names = cursor.fetchone()
    finally:
        one.close()
    return is_standby, standby_names
