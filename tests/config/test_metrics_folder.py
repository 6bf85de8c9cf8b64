"""The folder in which gunicorn's workers share their metrics, and what else gunicorn leaves on the machine."""

import os
import pwd
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import requests

from tests.config import processes
from tests.demo_api.server import DemoApi
from tests.load.browser import Browser
from tests.load.site import Site

TOKEN = "read-the-metrics"
ON = {"METRICS_TOKEN": TOKEN}
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as two users")

Start = Callable[..., AbstractContextManager[Site]]


@pytest.fixture
def folder() -> Iterator[Path]:
    """The machine's folder for temporary files, which is also the home."""
    place = Path(tempfile.mkdtemp(prefix="machine-"))
    place.chmod(0o1777)
    yield place
    shutil.rmtree(place)


@pytest.fixture
def start(folder: Path) -> Start:
    """Starts a site with one worker and these variables in its environment."""

    @contextmanager
    def start(kind: type[Site] = Site, *, preload: bool = False, **environment: str) -> Iterator[Site]:
        with DemoApi(access_ttl=3600) as api:
            site = kind(
                database_url=f"sqlite:///{folder}/db.sqlite3",
                api_url=api.url,
                workers=1,
                preload=preload,
                environment={"TMPDIR": str(folder), "HOME": str(folder), **environment},
            )
            site.migrate()
            for file in folder.glob("db.sqlite3*"):
                file.chmod(0o666)
            with site:
                yield site

    return start


class SiteOfNobody(Site):
    """Root starts gunicorn, and its workers become the user `nobody`."""

    def command(self) -> list[str]:
        return [*super().command(), "--user", "nobody", "--group", "nogroup"]


def metrics_folders(folder: Path) -> list[Path]:
    return list(folder.glob("metrics-*"))


def scrape(site: Site) -> requests.Response:
    return requests.get(f"{site.url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30)


def sign_in_is_counted(site: Site) -> bool:
    Browser(site.port).sign_in()
    return "\napi_session_started_total 1.0\n" in scrape(site).text


def test_where_nobody_may_read_metrics_there_is_no_folder_and_no_socket_controls_the_site(
    start: Start, folder: Path
) -> None:
    with start(XDG_RUNTIME_DIR=str(folder / "runtime")) as site:
        Browser(site.port).sign_in()

        assert metrics_folders(folder) == []
        assert [path for path in folder.rglob("*") if path.is_socket()] == []


def test_where_nobody_may_read_metrics_the_folder_of_the_operator_stays_empty(start: Start, folder: Path) -> None:
    with start(PROMETHEUS_MULTIPROC_DIR=str(folder / "metrics-of-the-operator"), preload=True) as site:
        Browser(site.port).sign_in()

        assert metrics_folders(folder) == []


@pytest.mark.parametrize(
    ("preload", "name"),
    [(False, ""), (True, ""), (False, "metrics-of-the-operator")],
    ids=["each worker loads the site", "preload", "the operator's folder"],
)
def test_a_folder_that_was_removed_is_made_again(start: Start, folder: Path, preload: bool, name: str) -> None:
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(folder / name)} if name else {}
    with start(preload=preload, **ON, **environment) as site:
        [shared] = metrics_folders(folder)
        assert shared.stat().st_mode & 0o777 == 0o700

        shutil.rmtree(shared)
        assert site.is_ready()
        assert scrape(site).status_code == 503
        site.reload()
        # Before the first event of this kind, or Prometheus would not see it.
        assert '\napi_session_ended_total{reason="reused"} 0.0\n' in scrape(site).text
        assert sign_in_is_counted(site)

        shutil.rmtree(shared)
        site.kill(site.workers[0])
        assert sign_in_is_counted(site)
        assert metrics_folders(folder) == [shared]

    assert shared.exists() == bool(name), "gunicorn removes its own folder"


@pytest.mark.parametrize("variable", [{}, {"PROMETHEUS_MULTIPROC_DIR": ""}], ids=["not set", "empty"])
def test_another_server_without_a_folder_starts(variable: dict[str, str]) -> None:
    started = processes.start(processes.ROOT, ENV_FILE=os.devnull, **processes.PRODUCTION, **ON, **variable)

    assert started.returncode == 0, started.stderr


@needs_root
def test_workers_of_another_user_share_metrics(start: Start, folder: Path) -> None:
    # Root loads the site, because `nobody` may not be allowed to read it here.
    with start(SiteOfNobody, preload=True, **ON) as site:
        assert sign_in_is_counted(site)
        [shared] = metrics_folders(folder)
        assert shared.stat().st_uid == pwd.getpwnam("nobody").pw_uid

        shutil.rmtree(shared)
        site.reload()
        assert sign_in_is_counted(site)


@needs_root
def test_a_folder_that_another_user_has_planted_is_not_used(start: Start, folder: Path) -> None:
    with start(**ON) as site:
        [shared] = metrics_folders(folder)
        shutil.rmtree(shared)
        shared.mkdir()
        os.chown(shared, pwd.getpwnam("nobody").pw_uid, -1)
        assert scrape(site).status_code == 503
        site.reload()

        Browser(site.port).sign_in()
        assert scrape(site).status_code == 503
        assert list(shared.iterdir()) == []
        assert "no metrics, because the folder" in site.log
