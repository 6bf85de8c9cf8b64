"""The site behind a real PgBouncer in transaction mode, with the file of the recipe."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.demo_api.server import DemoApi
from tests.load.browser import Browser
from tests.load.postgres import USER, PostgresServer, program_owner
from tests.load.processes import free_port, stop_process, wait_until
from tests.load.site import PROJECT, Site

pytestmark = pytest.mark.postgres

RECIPE = PROJECT / "config/deployment/pgbouncer.ini"
MISSING = "No PgBouncer; to install it: apt-get install pgbouncer"
TABS = 20
#: Fewer than the site's pool: connections are shared.
SERVER_CONNECTIONS = 2


def find_pgbouncer() -> str | None:
    """The program: Debian has it where only root's PATH looks."""
    return shutil.which("pgbouncer", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))


@contextmanager
def pgbouncer(server: PostgresServer, database: str, folder: Path) -> Iterator[str]:
    """PgBouncer in front of a database, as a URL for DATABASE_URL. Only places and the passwords are the test's."""
    host, _, port = server.address.partition(":")
    own_port = free_port()
    recipe = RECIPE.read_text()
    for ours, tests in {
        "host=db.example.com port=5432 dbname=site": f"host={host} port={port} dbname={database}",
        "listen_port = 6432": f"listen_port = {own_port}\nunix_socket_dir =",
        "auth_type = scram-sha-256": "auth_type = trust",
        "/etc/pgbouncer/userlist.txt": str(folder / "users"),
        "default_pool_size = 20": f"default_pool_size = {SERVER_CONNECTIONS}",
    }.items():
        assert recipe.count(ours) == 1, ours
        recipe = recipe.replace(ours, tests)
    (folder / "pgbouncer.ini").write_text(recipe)
    (folder / "users").write_text(f'"{USER}" ""\n')
    url = f"postgresql://{USER}@127.0.0.1:{own_port}/site"
    process = subprocess.Popen(
        [str(find_pgbouncer()), str(folder / "pgbouncer.ini")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **program_owner(),
    )
    try:
        wait_until(lambda: _answers(url), "PgBouncer answers")
        yield url
    finally:
        stop_process(process)


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=3).close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.fixture
def open_folder(tmp_path: Path) -> Path:
    """A folder that PostgreSQL's user may read."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == tmp_path.owner() and folder.is_relative_to(tmp_path.parents[2]):
            folder.chmod(0o755)
    return tmp_path


def test_the_site_works_and_leaves_nothing_behind(postgres: PostgresServer, migrated: str, open_folder: Path) -> None:
    if find_pgbouncer() is None:
        if os.environ.get("CI"):
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    database = f"bounced{free_port()}"
    postgres.create_database(database, template=migrated)
    with (
        DemoApi(access_ttl=3600) as api,
        pgbouncer(postgres, database, open_folder) as url,
        Site(database_url=url, api_url=api.url, workers=2, environment=api.site_environment) as site,
    ):
        browsers = [Browser(site.port) for _ in range(3)]
        for browser in browsers:
            browser.sign_in()
        api.expire_access_tokens()
        tabs = [tab for browser in browsers for tab in browser.open_tabs(TABS)]
        assert {tab.answer().status for tab in tabs} == {200}, site.log[-2000:]

        checked = site.manage("check", "--deploy", "--database", "default", "--tag", "database")
        assert checked.returncode == 0, checked.stderr
        assert site.manage("prune_sessions").returncode == 0
        assert _limits(url) == {("5s", "3s")}

        api.expire_access_tokens()
        with postgres.connect(database) as locker, locker.transaction():
            locker.execute("SELECT * FROM accounts_sessionrecord FOR UPDATE")
            assert browsers[0].open().status == 503
        browsers[0].sign_in()
        assert browsers[1].open().status == 200


def _limits(url: str) -> set[tuple[str, str]]:
    """The limits of every connection between PgBouncer and the server."""
    found = set()
    connections = [psycopg.connect(url) for _ in range(SERVER_CONNECTIONS)]
    for connection in connections:
        # A transaction each, and all of them open: they have different connections of the server.
        row = connection.execute("SELECT current_setting('statement_timeout'), current_setting('lock_timeout')")
        found.add(row.fetchone() or ("", ""))
    for connection in connections:
        with closing(connection):
            connection.rollback()
    return found
