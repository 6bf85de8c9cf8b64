"""Answers of the API that are small on the wire and a gigabyte in memory: what a worker holds of them has a limit."""

import http.client
import re
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from accounts.upstream.response import MAX_ANSWER_BYTES
from tests.fuzz.raw_api import RawApi, said
from tests.fuzz.visitors import NEW_PAIR
from tests.load.browser import Browser as Person
from tests.load.site import Site

PATIENCE_SECONDS = 60.0
MEGABYTE = 1024 * 1024
ROUTE = "/protected-route"
EXPORT = f"{ROUTE}/export.csv"
#: What a worker may grow by: the largest answer, its pieces, and room for whatever else it does.
GROWTH_MEGABYTES = 3 * MAX_ANSWER_BYTES / MEGABYTE + 30
#: Many times as much. The worker unpacks what it passes on, so ten times more would take ten times as long.
INFLATED_MEGABYTES = 1000
#: zlib's `wbits`.
GZIP, DEFLATE = 31, 15


def bomb(wbits: int) -> bytes:
    """Zeros, packed. Each megabyte is packed by itself, and all are the same: so this takes no time."""
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    head = packer.compress(bytes(MEGABYTE)) + packer.flush(zlib.Z_FULL_FLUSH)
    megabyte = packer.compress(bytes(MEGABYTE)) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + megabyte * INFLATED_MEGABYTES + packer.flush()


def chunked(body: bytes, *headers: str) -> bytes:
    lines = ["HTTP/1.1 200 So", "Transfer-Encoding: chunked", *headers, "", ""]
    return "\r\n".join(lines).encode() + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


def without_end(body: bytes, *headers: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 So", *headers, "", ""]).encode() + body


INVALID_CHUNK = "200 MB in a chunk of -1"
#: Made when they are sent: no other worker of the tests has to hold them.
BOMBS: dict[str, Callable[[], bytes]] = {
    "1 GB in gzip": lambda: said(bomb(GZIP), "Content-Encoding: gzip"),
    "1 GB in gzip, in chunks": lambda: chunked(bomb(GZIP), "Content-Encoding: gzip"),
    "1 GB in gzip, until it ends": lambda: without_end(bomb(GZIP), "Content-Encoding: gzip"),
    "1 GB in deflate": lambda: said(bomb(DEFLATE), "Content-Encoding: deflate"),
    "1 GB in gzip in deflate": lambda: said(zlib.compress(bomb(GZIP), 9), "Content-Encoding: gzip, deflate"),
    "200 MB as they are": lambda: said(bytes(200 * MEGABYTE)),
    INVALID_CHUNK: lambda: without_end(b"-1\r\n" + bytes(200 * MEGABYTE), "Transfer-Encoding: chunked"),
    "JSON that grows a hundredfold when it is indented": lambda: said(
        b"[" + b",".join([b"[" * 300 + b"]" * 300] * 10_000) + b"]"
    ),
    "JSON whose rows have no column in common": lambda: said(
        b"[" + b",".join(b'{"%d": 1}' % number for number in range(100_000)) + b"]"
    ),
}
WHOLE = [name for name in BOMBS if "JSON" not in name]


def memory_megabytes(worker: int) -> float:
    """The most that the worker has held of the machine's memory since `forget_memory`."""
    (line,) = re.findall(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{worker}/status").read_text())
    return int(line) / 1024


def forget_memory(worker: int) -> None:
    Path(f"/proc/{worker}/clear_refs").write_text("5")


class Growth:
    """What the site's worker has grown by at most, since this was made."""

    def __init__(self, site: Site) -> None:
        (self._worker,) = site.workers
        forget_memory(self._worker)
        self._before = memory_megabytes(self._worker)

    def megabytes(self) -> float:
        return memory_megabytes(self._worker) - self._before


@pytest.mark.parametrize("name", BOMBS)
def test_a_page_is_an_error_page_or_a_page(site: Site, behind: RawApi, person: Person, name: str) -> None:
    growth = Growth(site)
    behind.begin({ROUTE: BOMBS[name]()})

    status = person.open("/protected/").status

    assert status == (200 if "JSON" in name else 503 if name == INVALID_CHUNK else 502)
    assert growth.megabytes() < GROWTH_MEGABYTES * (10 if "JSON" in name else 1)
    assert person.open("/accounts/session/", as_script=True).json()["authenticated"]


@pytest.mark.parametrize("name", WHOLE)
def test_a_sign_in_fails(site: Site, behind: RawApi, name: str) -> None:
    growth = Growth(site)
    behind.begin({"/auth/login": BOMBS[name]()})

    with pytest.raises(AssertionError, match=r"status=50[23]"):
        Person(site.port).sign_in()

    assert growth.megabytes() < GROWTH_MEGABYTES


@pytest.mark.parametrize("name", WHOLE)
def test_a_refresh_leaves_the_session(site: Site, behind: RawApi, person: Person, name: str) -> None:
    growth = Growth(site)
    behind.begin({ROUTE: said(b"{}", status=401), "/auth/refresh": BOMBS[name]()})

    assert person.open("/protected/").status == 503

    assert growth.megabytes() < GROWTH_MEGABYTES
    assert person.open("/accounts/session/", as_script=True).json()["authenticated"]


@pytest.mark.parametrize("name", WHOLE)
def test_what_passes_through_is_not_held(site: Site, behind: RawApi, person: Person, name: str) -> None:
    """Unpacked on its way (a download), or as it is (a script's call). The browser leaves before the end."""
    growth = Growth(site)
    behind.begin({EXPORT: BOMBS[name]()})
    headers = {"Cookie": person.jar.header(), "Accept-Encoding": "gzip"}
    for path in ("/protected/download/", f"/protected/api{EXPORT}"):
        connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=PATIENCE_SECONDS)
        with closing(connection):
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            # A chunk whose length is invalid breaks the response off before its first byte.
            assert answer.status == (503 if name == INVALID_CHUNK else 200)
            read = 0
            while read < 50 * MEGABYTE and (piece := answer.read1(MEGABYTE)):
                read += len(piece)

    assert growth.megabytes() < GROWTH_MEGABYTES


def test_a_sign_in_with_tokens_of_ordinary_size_still_works(site: Site, behind: RawApi) -> None:
    behind.begin({"/auth/login": said(NEW_PAIR)})

    assert Person(site.port).sign_in().status == 302
