"""Requests that no client library sends, over real sockets to gunicorn: framed twice, folded, too large, too slow."""

import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.conftest import THREADS
from tests.fuzz.effort import fuzz
from tests.fuzz.raw_api import RawApi
from tests.fuzz.raw_requests import HIDDEN, LINES, PIECES, PROXY, Sent, sent
from tests.load.browser import Browser as Person
from tests.load.site import Site

PATIENCE_SECONDS = 60.0
#: The site's, and gunicorn's own: 100 before a body, 414 for the request line, 417 and 431 for headers, 501 and 505.
DOCUMENTED = {100, 200, 204, 206, 301, 302, 304, 400, 401, 403, 404, 405, 411, 413, 414, 416, 417, 431, 501, 505}


def exchange(site: Site, raw: bytes) -> bytes:
    """All that comes back for these bytes, to the end of the connection."""
    with socket.create_connection(("127.0.0.1", site.port), timeout=PATIENCE_SECONDS) as connection:
        received = b""
        try:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65_536):
                received += piece
        except (ConnectionResetError, BrokenPipeError):
            # It had heard enough.
            pass
        return received


def statuses(received: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"(?:\A|\n|})HTTP/1\.[01] (\d{3}) ", received)]


def only_status(site: Site, raw: bytes) -> int:
    (status,) = statuses(exchange(site, raw))
    return status


def open_files(worker: int) -> Iterator[str]:
    for descriptor in Path(f"/proc/{worker}/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            yield str(descriptor.readlink())


def head(person: Person, *lines: str, method: str = "POST", path: str = PROXY) -> bytes:
    """A script's request up to its body."""
    always = [f"Cookie: {person.jar.header()}", f"X-CSRFToken: {person.jar.value('csrftoken')}", "Host: 127.0.0.1"]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *always, "Accept: application/json", *lines, "", ""]).encode()


@fuzz
@given(sent=sent)
def test_any_bytes_have_a_documented_answer_and_hide_no_request(
    site: Site, behind: RawApi, person: Person, sent: Sent
) -> None:
    behind.begin()

    answered = statuses(exchange(site, sent.raw(person)))

    assert set(answered) <= DOCUMENTED
    assert not [heard.target for heard in behind.heard if "hidden" in heard.target]


@fuzz
@given(
    raw=st.one_of(st.binary(), st.lists(st.one_of(st.sampled_from(LINES), st.binary(max_size=20))).map(b"\r\n".join))
)
def test_bytes_that_are_no_request_have_a_documented_answer(site: Site, raw: bytes) -> None:
    assert set(statuses(exchange(site, raw + b"\r\n\r\n"))) <= DOCUMENTED


AMBIGUOUS = {
    "two lengths": ["Content-Length: 2", "Content-Length: 40"],
    "the same length twice": ["Content-Length: 2", "Content-Length: 2"],
    "a list of lengths": ["Content-Length: 2, 2"],
    "a length and chunks": ["Content-Length: 2", "Transfer-Encoding: chunked"],
    "chunks and a length": ["Transfer-Encoding: chunked", "Content-Length: 2"],
    "a coding that is none": ["Content-Length: 2", "Transfer-Encoding: xchunked"],
    "a space before the colon": ["Content-Length : 2"],
    "a folded line": ["Content-Length: 2", "X: a", " folded: yes"],
    "a length below zero": ["Content-Length: -2"],
    "a length with a sign": ["Content-Length: +2"],
    "two hosts": ["Content-Length: 2", "Host: evil.example"],
}


@pytest.mark.parametrize("lines", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_a_request_that_can_be_read_in_two_ways_is_read_in_none(
    site: Site, behind: RawApi, person: Person, lines: list[str]
) -> None:
    status = statuses(exchange(site, head(person, *lines) + b"{}"))[0]

    assert status in (400, 501) or (status == 411 and "Transfer-Encoding: chunked" in lines)
    assert behind.heard == []


def test_what_follows_a_refused_body_in_chunks_is_no_part_of_it(site: Site, behind: RawApi, person: Person) -> None:
    """The connection goes on behind the last chunk, and nowhere else."""
    hidden = f"{HIDDEN}Cookie: {person.jar.header()}\r\n\r\n".encode()
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(hidden), hidden)
    after = head(person, "Connection: close", method="GET")

    answered = statuses(exchange(site, head(person, "Transfer-Encoding: chunked") + chunks + after))

    assert answered == [411, 200]
    assert [heard.target for heard in behind.heard] == ["/protected-route"]


def test_hop_by_hop_headers_end_here(site: Site, behind: RawApi, person: Person) -> None:
    """Neither they nor what they name reach the API, and none of them takes the session away."""
    hop = [
        "Keep-Alive: 9",
        "TE: trailers",
        "Trailer: X",
        "Proxy-Authorization: Basic eA==",
        "X-Hop: 1",
        "X-Forwarded-Host: x",
    ]

    assert only_status(site, head(person, "Connection: close, X-Hop, Authorization, Cookie", *hop, method="GET")) == 200

    (heard,) = behind.heard
    assert not {name for name, _ in heard.headers} & {
        "keep-alive",
        "te",
        "trailer",
        "proxy-authorization",
        "x-hop",
        "cookie",
    }
    assert heard.header("authorization").startswith("Bearer ")
    assert "x-forwarded-host" not in dict(heard.headers)


@pytest.mark.parametrize(
    ("line", "path", "status"),
    [
        ("SCRIPT_NAME: /open", "/open/health/live", 404),
        ("SCRIPT_NAME: /elsewhere", "/health/live", 200),
        ("PATH_INFO: /health/live", "/open/health/live", 404),
    ],
)
def test_no_header_chooses_the_path(site: Site, line: str, path: str, status: int) -> None:
    """What comes from this machine is a proxy's word to gunicorn, and the proxy may only repeat a browser's."""
    assert only_status(site, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{line}\r\n\r\n".encode()) == status


OVERSIZED = {
    "a header line of 33 KB": (["X: " + "a" * 33_000], {400, 431}),
    "a cookie of 33 KB": (["Cookie: a=" + "b" * 33_000], {400, 431}),
    "200 headers": ([f"X-{number}: a" for number in range(200)], {400, 431}),
    "a form of 3 MB": (["Content-Length: 3000000", "Content-Type: application/x-www-form-urlencoded"], {400}),
    "a form of a terabyte": (
        ["Content-Length: 1000000000000", "Content-Type: application/x-www-form-urlencoded"],
        {400},
    ),
    "JSON of a terabyte": (["Content-Length: 1000000000000", "Content-Type: application/json"], {200, 400, 403}),
}


@pytest.mark.parametrize(("lines", "documented"), OVERSIZED.values(), ids=OVERSIZED)
@pytest.mark.parametrize("path", ["/accounts/login/", "/accounts/session/update/"])
def test_more_than_anybody_needs_is_refused_without_being_read(
    site: Site, person: Person, path: str, lines: list[str], documented: set[int]
) -> None:
    raw = head(person, *lines, path=path)
    with socket.create_connection(("127.0.0.1", site.port), timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(raw)
        answer = connection.recv(65_536)

    assert statuses(answer)[0] in documented


@pytest.mark.parametrize(
    ("parameters", "query"),
    [
        ("charset=undefined", "next=/"),
        ("charset=idna", "next=%ff"),
        ("charset=hex", "next=/"),
        ("charset=utf-8", "a&" * 1100),
        ("charset=utf-7", "next=%2B2AA-"),
        ("b*=undefined''x", "next=/"),
        ("b*=nonsense''x", "next=/"),
        (PIECES, "next=/"),
        (f"b*{'9' * 5000}=x", "next=/"),
    ],
    ids=[
        *("undefined", "idna", "no charset of text", "any, and many parameters", "half a surrogate pair"),
        *("a parameter in undefined", "a parameter in none", "pieces that do not fit", "too many pieces"),
    ],
)
def test_a_content_type_of_any_kind_is_no_mistake_of_ours(site: Site, parameters: str, query: str) -> None:
    request = f"GET /accounts/login/?{query} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain; {parameters}"

    assert only_status(site, f"{request}\r\n\r\n".encode()) in DOCUMENTED


@pytest.mark.parametrize(
    "lines",
    [
        f"Content-Disposition: form-data; name=next; {PIECES}",
        f"Content-Disposition: form-data\r\nContent-Type: a/b; {PIECES}",
    ],
    ids=["in the part's name", "in the part's type"],
)
def test_nor_is_a_form_whose_parts_are_damaged(site: Site, lines: str) -> None:
    body = f"--x\r\n{lines}\r\n\r\n/\r\n--x--\r\n"
    head = [
        *("POST /accounts/login/ HTTP/1.1", "Host: 127.0.0.1", f"Cookie: csrftoken={'c' * 32}"),
        *("Content-Type: multipart/form-data; boundary=x", f"Content-Length: {len(body)}", "", body),
    ]

    assert only_status(site, "\r\n".join(head).encode()) == 400


def test_a_file_that_nobody_asked_for_is_not_stored(site: Site) -> None:
    (worker,) = site.workers
    token = "c" * 32
    lines = [f"Cookie: csrftoken={token}", "Content-Type: multipart/form-data; boundary=x", "Content-Length: 100000000"]
    part = '--x\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n\r\n'
    request = "\r\n".join(["POST /accounts/login/ HTTP/1.1", "Host: 127.0.0.1", *lines, "", part])
    with socket.create_connection(("127.0.0.1", site.port), timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(request.encode() + bytes(50_000_000))

        opened = list(open_files(worker))

    assert not [name for name in opened if name.endswith(".upload")]


@pytest.mark.parametrize("path", [f"{PROXY}?{'a' * 3000}", f"/protected/?{'a=b&' * 900}"])
def test_a_long_address_is_an_address(site: Site, person: Person, path: str) -> None:
    assert only_status(site, head(person, method="GET", path=path)) == 200


@pytest.mark.parametrize("part", ["a head", "a body"])
def test_a_slow_sender_holds_no_more_than_a_thread(site: Site, behind: RawApi, person: Person, part: str) -> None:
    """What stands in front of the site has to buffer, or to count connections: so the README says."""
    half = head(person, "Content-Length: 1000")
    half = half[:-30] if part == "a head" else half + b"{"
    with ExitStack() as slow:
        for _ in range(THREADS - 1):
            connection = slow.enter_context(socket.create_connection(("127.0.0.1", site.port)))
            connection.sendall(half)
        assert person.open("/protected/").status == 200
        assert behind.heard
    tabs = person.open_tabs(THREADS)
    assert [tab.answer().status for tab in tabs] == [200] * THREADS
