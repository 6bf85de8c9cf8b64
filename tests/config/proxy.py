"""Proxies with the very files of the recipes: only ports and places are those of the test. And requests to them."""

import http.client
import os
import re
import shutil
import ssl
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import ClassVar, Self

import requests

from tests.accounts.at_provider import PAGE, Person
from tests.accounts.odd_provider import OddProvider
from tests.load.processes import free_port, stop_process, wait_until
from tests.load.site import PROJECT

RECIPES = PROJECT / "config/deployment"
PRODUCTION = {
    "SECURE_SSL_REDIRECT": "true",
    "API_SESSION_COOKIE_SECURE": "true",
    "API_SESSION_COOKIE_NAME": "__Host-session",
    "TRUSTED_PROXY_COUNT": "1",
    "API_PROXY_ALLOW": "GET /protected-route, POST /protected-route",
}


def find_program(name: str) -> str | None:
    """Debian has servers where only root's PATH looks."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))


class Proxy(ABC):
    """In front of the site at `site_port`, as a context manager. Speaks HTTPS at `url`, with `certificate`."""

    #: The program, Debian's package, and the file of the recipe.
    program: ClassVar[str]
    package: ClassVar[str]
    recipe: ClassVar[str]
    #: What the site needs as TRUSTED_PROXY_COUNT.
    count: ClassVar[int] = 1

    def __init__(self, site_port: int, certificate: Path) -> None:
        self.port, self.plain_port = free_port(), free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.plain_url = f"http://127.0.0.1:{self.plain_port}"
        self.tls = ssl.create_default_context(cafile=str(certificate))
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.program}-"))
        #: Texts of the recipe, and what stands there in the test.
        self.places = self.own_places(site_port, certificate)

    @classmethod
    def missing(cls) -> str:
        """What to do where the program is missing; "" where it is there."""
        if find_program(cls.program):
            return ""
        return f"No {cls.program}; to install it: apt-get install {cls.package}"

    @classmethod
    def version(cls, *arguments: str) -> tuple[int, ...]:
        """The first two numbers of what the program says with these arguments."""
        said = subprocess.check_output([str(find_program(cls.program)), *arguments], text=True)
        return tuple(map(int, re.findall(r"\d+", said)[:2]))

    @abstractmethod
    def own_places(self, site_port: int, certificate: Path) -> dict[str, str]:
        """The first `places`."""

    @abstractmethod
    def arguments(self, recipe: Path) -> list[str]:
        """Of the program that serves in the foreground."""

    def hides_cuts(self) -> bool:
        """Whether a stream that breaks off looks complete, as with the versions that Debian 12 has."""
        return False

    def __enter__(self) -> Self:
        recipe = (RECIPES / self.recipe).read_text()
        for place, ours in self.places.items():
            assert place in recipe, place
            recipe = recipe.replace(place, ours)
        file = self.folder / self.recipe
        file.write_text(recipe)
        with (self.folder / "output.log").open("wb") as output:
            self._process = subprocess.Popen(
                [str(find_program(self.program)), *self.arguments(file)],
                env={**os.environ, "HOME": str(self.folder), "XDG_DATA_HOME": str(self.folder)},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            wait_until(self.is_ready, f"{self.program} answers")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        stop_process(self._process)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def log(self) -> str:
        """What it wrote of requests and of errors."""
        return "".join(log.read_text() for log in sorted(self.folder.glob("*.log")))

    def is_ready(self) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError(f"{self.program} did not start:\n{self.log}")
        try:
            return requests.get(self.plain_url, allow_redirects=False, timeout=10).is_redirect
        except requests.ConnectionError:
            return False


def sign_in(provider: OddProvider, proxy: Proxy) -> Person:
    person = Person(proxy.port, tls=proxy.tls)
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
