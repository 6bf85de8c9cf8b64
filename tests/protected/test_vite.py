"""The recipe for React in protected/README.md, with the real Vite from npm in front of the real site."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.browser.conftest import run_server
from tests.demo_api.server import DEMO_USERS, DemoApi
from tests.load.processes import free_port, stop_process, wait_until
from tests.test_docs import code_blocks

pytestmark = pytest.mark.vite

DOCUMENT = "protected/README.md"
ADA = "ada@example.com"
SECONDS = 120.0
JSON = {"Accept": "application/json"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `frontend/`, made by following the recipe."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("No node with npm, so no test of the Vite recipe here")
    project = tmp_path_factory.mktemp("project")
    if subprocess.run(["npm", "ping"], cwd=project, capture_output=True, timeout=SECONDS).returncode:
        pytest.skip("The npm registry cannot be reached, so no test of the Vite recipe here")
    [commands] = [block for block in code_blocks(DOCUMENT, "sh") if "npm install" in block]
    subprocess.run(["sh", "-ec", commands], cwd=project, check=True, capture_output=True, timeout=5 * SECONDS)
    [helper] = [block for block in code_blocks(DOCUMENT, "js") if "export async function api" in block]
    [page] = [block for block in code_blocks(DOCUMENT, "html") if "/src/main.jsx" in block]
    [app] = code_blocks(DOCUMENT, "jsx")
    for name, text in {"src/api.js": helper, "index.html": page, "src/main.jsx": app}.items():
        (project / "frontend" / name).write_text(text)
    (project / "frontend/vite.config.mjs").write_text(vite_config("http://127.0.0.1:8000"))
    return project


def vite_config(site: str) -> str:
    """The recipe's configuration, for the site at this address."""
    [config] = [block for block in code_blocks(DOCUMENT, "js") if "defineConfig(" in block]
    assert "http://127.0.0.1:8000" in config
    return config.replace("http://127.0.0.1:8000", site)


@pytest.fixture(scope="module")
def vite(project: Path) -> Iterator[str]:
    """The address of Vite's development server, which passes calls on to a site with the demo API."""
    address = f"http://127.0.0.1:{free_port()}"
    with DemoApi(access_ttl=60) as api, run_server(api.url, project) as site, (project / "vite.log").open("wb") as log:
        (project / "frontend/vite.config.mjs").write_text(vite_config(site))
        options = ["--host", "127.0.0.1", "--port", address.rpartition(":")[2], "--strictPort"]
        # Not through npx, which would not pass the signal to stop on.
        server = subprocess.Popen(
            ["node", "node_modules/vite/bin/vite.js", *options],
            cwd=project / "frontend",
            stdout=log,
            stderr=subprocess.STDOUT,
        )

        def serves() -> bool:
            assert server.poll() is None, (project / "vite.log").read_text()
            try:
                return requests.get(address, headers={"Accept": "text/html"}, timeout=SECONDS).ok
            except requests.ConnectionError:
                return False

        try:
            wait_until(serves, "Vite is ready", seconds=SECONDS)
            yield address
        finally:
            stop_process(server)


def test_the_development_server_serves_the_front_end(vite: str) -> None:
    assert '<div id="app">' in requests.get(vite, headers={"Accept": "text/html"}, timeout=SECONDS).text
    script = requests.get(f"{vite}/src/main.jsx", timeout=SECONDS)

    assert "javascript" in script.headers["Content-Type"]
    assert re.search(r'from "[^"]*/src/api\.js', script.text)
    assert "<StrictMode>" not in script.text


def test_a_front_end_signs_in_calls_the_api_and_signs_out(vite: str) -> None:
    with requests.Session() as front_end:
        visitor = front_end.get(f"{vite}/accounts/session/", headers=JSON, timeout=SECONDS).json()
        headers = {**JSON, "Origin": vite, "X-CSRFToken": visitor["csrf_token"]}
        credentials = {"username": ADA, "password": DEMO_USERS[ADA]}
        signed_in = front_end.post(f"{vite}/accounts/login/", json=credentials, headers=headers, timeout=SECONDS)
        called = front_end.get(f"{vite}/protected/api/protected-route", headers=headers, timeout=SECONDS)
        forged = {**headers, "Origin": "http://evil.example"}
        refused = front_end.post(f"{vite}/accounts/logout/", headers=forged, timeout=SECONDS)
        signed_out = front_end.post(f"{vite}/accounts/logout/", headers=headers, timeout=SECONDS)
        after = front_end.get(f"{vite}/protected/api/protected-route", headers=headers, timeout=SECONDS)

    assert not visitor["authenticated"]
    assert (signed_in.status_code, signed_in.json()["user"]["name"]) == (200, ADA)
    assert (called.status_code, bool(called.json()["data"])) == (200, True)
    assert refused.status_code == 403
    assert "Origin" in refused.json()["detail"]
    assert signed_out.status_code == 204
    assert (after.status_code, after.json()["login"]) == (401, "/accounts/login/?next=%2F")


def test_the_build_is_where_the_page_looks_for_it(project: Path) -> None:
    subprocess.run(["npx", "vite", "build"], cwd=project / "frontend", check=True, capture_output=True, timeout=SECONDS)

    assert "/protected/api" in (project / "protected/static/frontend/main.js").read_text()
