"""How many requests one visitor may have at the same time, through nginx with the recipe."""

import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.accounts.at_provider import PAGE, Person
from tests.accounts.odd_provider import OddProvider
from tests.config.nginx import Nginx
from tests.config.proxy import PRODUCTION, asked, sign_in
from tests.load.site import Site

pytestmark = pytest.mark.nginx

#: As many as with the commands in README.md.
THREADS = 16
LIMIT = 14
STREAM = "/protected/stream/?rows=2&delay=30"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
MAX_CONCURRENT_STREAMS = 3  # RFC 9113 section 6.5.2


@pytest.fixture(scope="module")
def site(provider: OddProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(
        database_url=f"sqlite:///{tmp_path_factory.mktemp('site') / 'db.sqlite3'}",
        api_url=provider.url,
        workers=1,
        threads=THREADS,
        environment={**provider.site_environment, **PRODUCTION},
    )
    site.migrate()
    with site:
        yield site


def test_the_streams_of_one_user_leave_threads_for_others(provider: OddProvider, nginx: Nginx, person: Person) -> None:
    other = sign_in(provider, nginx)
    with ExitStack() as streams:
        for _ in range(LIMIT):
            assert streams.enter_context(asked(person, STREAM, {})).status == 200

        assert person.open(STREAM).status == 429
        assert other.open(PAGE).status == 200
        assert Person(nginx.port, tls=nginx.tls).open("/accounts/login/").status == 200

    assert "limiting" not in nginx.log


def test_with_http_2_a_browser_waits_before_it_meets_the_limit(nginx: Nginx, certificate: Path) -> None:
    tls = ssl.create_default_context(cafile=str(certificate))
    tls.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", nginx.port)) as plain,
        tls.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
        connection.makefile("rwb") as stream,
    ):
        stream.write(PREFACE)
        stream.flush()
        head = stream.read(9)
        settings = dict(struct.iter_unpack(">HI", stream.read(int.from_bytes(head[:3], "big"))))

    assert settings[MAX_CONCURRENT_STREAMS] < LIMIT < THREADS
