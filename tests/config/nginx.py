"""nginx with the very file of the recipe: only ports and places are those of the test. And requests through it."""

import http.client
import os
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import requests

from tests.accounts.at_provider import PAGE, Person
from tests.accounts.odd_provider import OddProvider
from tests.load.processes import free_port, stop_process, wait_until
from tests.load.site import PROJECT

RECIPE = PROJECT / "config/deployment/nginx.conf"
PRODUCTION = {
    "SECURE_SSL_REDIRECT": "true",
    "API_SESSION_COOKIE_SECURE": "true",
    "API_SESSION_COOKIE_NAME": "__Host-session",
    "TRUSTED_PROXY_COUNT": "1",
    "API_PROXY_ALLOW": "GET /protected-route, POST /protected-route",
}
MISSING = "No nginx; to install it: apt-get install nginx"

#: What surrounds the recipe on Debian, as far as it matters; gzip is on there.
_AROUND = """
daemon off;
worker_processes 1;
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    gzip on;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/site.conf;
}}
"""


def find_nginx() -> str | None:
    """The program: Debian has it where only root's PATH looks."""
    return shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))


class Nginx:
    """In front of the site at `site_port`, as a context manager. Speaks HTTPS at `url`, with `certificate`."""

    def __init__(self, site_port: int, certificate: Path) -> None:
        self.port, self.plain_port = free_port(), free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.plain_url = f"http://127.0.0.1:{self.plain_port}"
        self.tls = ssl.create_default_context(cafile=str(certificate))
        self._folder = Path(tempfile.mkdtemp(prefix="nginx-"))
        self._places = {
            "127.0.0.1:8000": f"127.0.0.1:{site_port}",
            "listen 80;": f"listen 127.0.0.1:{self.plain_port};",
            "listen 443 ": f"listen 127.0.0.1:{self.port} ",
            "www.example.com": "127.0.0.1",
            "/etc/ssl/site/certificate.pem": str(certificate),
            "/etc/ssl/site/key.pem": str(certificate),
            "/var/log/nginx/site.log": str(self._folder / "site.log"),
            "/var/log/nginx/error.log": str(self._folder / "error.log"),
        }

    def __enter__(self) -> "Nginx":
        recipe = RECIPE.read_text()
        for place, ours in self._places.items():
            assert place in recipe, place
            recipe = recipe.replace(place, ours)
        (self._folder / "site.conf").write_text(recipe)
        user = "user root;" if os.geteuid() == 0 else ""
        (self._folder / "nginx.conf").write_text(_AROUND.format(folder=self._folder, user=user))
        self._process = subprocess.Popen(
            [str(find_nginx()), "-p", str(self._folder), "-c", str(self._folder / "nginx.conf"), "-e", "error.log"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until(self._answers, "nginx answers")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        stop_process(self._process)
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def log(self) -> str:
        """What it wrote of requests and of errors."""
        logs = [self._folder / name for name in ("site.log", "error.log")]
        return "".join(log.read_text() for log in logs if log.exists())

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError(f"nginx did not start:\n{self.log}")
        try:
            return requests.get(self.plain_url, allow_redirects=False, timeout=10).status_code == 301
        except requests.ConnectionError:
            return False


def sign_in(provider: OddProvider, nginx: Nginx) -> Person:
    person = Person(nginx.port, tls=nginx.tls)
    answer = person.open(provider.come_back(person.begin()))
    assert answer.header("Location") == PAGE, f"{answer}"
    return person


@contextmanager
def asked(
    person: Person, path: str, headers: Mapping[str, str], *, body: bytes | None = None, chunked: bool = False
) -> Iterator[http.client.HTTPResponse]:
    """The answer to a request with headers of one's own, its body still to be read."""
    with closing(person.connect(person.port)) as connection:
        sent = {"Cookie": person.jar.header(path), **headers}
        content = iter([body]) if chunked and body else body
        connection.request("GET" if body is None else "POST", path, content, sent, encode_chunked=chunked)
        with closing(connection.getresponse()) as answer:
            yield answer
