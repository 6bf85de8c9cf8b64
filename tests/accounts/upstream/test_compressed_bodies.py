"""A compressed body that is cut short inside a complete HTTP message breaks off, however it is read."""

import gzip
import json
import os
import zlib
from collections.abc import Callable, Iterator

import pytest
import requests
from urllib3.exceptions import ProtocolError

from accounts.api_client import ApiClient
from accounts.exceptions import ApiUnavailable
from accounts.streaming import PassThroughBody
from accounts.upstream.calls import ApiAnswer
from accounts.upstream.transport import AnswerLost
from tests.accounts.upstream.scripted_api import Api, say, say_and_hang_up, whole

JSON = json.dumps({"tides": list(range(100))}).encode()
#: Neither fits into one read of a body, compressed or not.
LONG = os.urandom(50_000).hex().encode() * 3
Client = Callable[[str], ApiClient]
Compress = Callable[[bytes], bytes]
ReadBody = Callable[[ApiClient], bytes]


def raw_deflate(body: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(body) + compressor.flush()


def members(body: bytes) -> bytes:
    """Two members of gzip, one after the other."""
    return gzip.compress(body[:50]) + gzip.compress(body[50:])


CODINGS: dict[str, tuple[str, Compress]] = {
    "gzip": ("gzip", gzip.compress),
    "members of gzip": ("gzip", members),
    "x-gzip": ("x-gzip", gzip.compress),
    "zlib": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "gzip of zlib": ("deflate, gzip", lambda body: gzip.compress(zlib.compress(body))),
}


def with_length(body: bytes, *headers: str) -> bytes:
    return whole(body, *headers)


def chunked(body: bytes, *headers: str) -> bytes:
    pieces = [body[start : start + 5000] for start in range(0, len(body), 5000)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""])
    return "\r\n".join(["HTTP/1.1 200 OK", "Transfer-Encoding: chunked", *headers, "", ""]).encode() + chunks


def to_the_end(body: bytes, *headers: str) -> bytes:
    return "\r\n".join(["HTTP/1.0 200 OK", *headers, "", ""]).encode() + body


def read_content(client: ApiClient) -> bytes:
    return bytes(client.get("/").content)


def read_stream(client: ApiClient) -> bytes:
    return bytes(client.get("/", stream=True).content)


def read_pieces(client: ApiClient) -> bytes:
    pieces: Iterator[bytes] = client.get("/", stream=True).iter_content(1000)
    return b"".join(pieces)


def read_one_large_piece(client: ApiClient) -> bytes:
    pieces: Iterator[bytes] = client.get("/", stream=True).iter_content(10_000_000)
    return b"".join(pieces)


def read_lines(client: ApiClient) -> bytes:
    return b"".join(client.get("/", stream=True).iter_lines())


def pass_through(client: ApiClient) -> bytes:
    return b"".join(PassThroughBody(client.get("/", stream=True), decoded=True))


def pass_through_undecoded(client: ApiClient) -> bytes:
    return b"".join(PassThroughBody(client.get("/", stream=True), decoded=False))


def read_raw(client: ApiClient) -> bytes:
    return bytes(client.get("/", stream=True).raw.read(decode_content=True))


READERS = [read_content, read_stream, read_pieces, read_one_large_piece, read_lines, pass_through, read_raw]
#: The last is urllib3's, for a view that reads `raw`.
BROKEN_OFF = (ApiUnavailable, requests.exceptions.ChunkedEncodingError, ProtocolError)


@pytest.fixture(params=[with_length, chunked, to_the_end])
def message(request: pytest.FixtureRequest) -> Callable[..., bytes]:
    """Builds a complete HTTP response."""
    build: Callable[..., bytes] = request.param
    return build


@pytest.mark.parametrize(("coding", "compress"), CODINGS.values(), ids=CODINGS)
@pytest.mark.parametrize("body", [JSON, LONG], ids=["short", "long"])
class TestViews:
    def test_a_whole_one_is_read(
        self, client: Client, message: Callable[..., bytes], coding: str, compress: Compress, body: bytes
    ) -> None:
        with Api(say_and_hang_up(message(compress(body), f"Content-Encoding: {coding}"))) as api:
            for read in READERS:
                assert read(client(api.url)) == body, read

    def test_one_that_is_cut_short_breaks_off(
        self, client: Client, message: Callable[..., bytes], coding: str, compress: Compress, body: bytes
    ) -> None:
        compressed = compress(body)
        for length in (1, len(compressed) // 2, len(compressed) - 1):
            with Api(say_and_hang_up(message(compressed[:length], f"Content-Encoding: {coding}"))) as api:
                for read in READERS:
                    with pytest.raises(BROKEN_OFF):
                        pytest.fail(f"{read} takes {len(read(client(api.url)))} bytes for the whole body")


@pytest.mark.parametrize(("coding", "compress"), CODINGS.values(), ids=CODINGS)
@pytest.mark.parametrize("body", [JSON, LONG, bytes(10_000_000)], ids=["short", "long", "zeros"])
def test_so_does_one_that_is_passed_on_compressed(
    client: Client, message: Callable[..., bytes], coding: str, compress: Compress, body: bytes
) -> None:
    """The proxy for browser scripts does that, and browsers take such a body for whole."""
    compressed = compress(body)
    with Api(say_and_hang_up(message(compressed, f"Content-Encoding: {coding}"))) as api:
        assert pass_through_undecoded(client(api.url)) == compressed
    for length in (1, len(compressed) // 2, len(compressed) - 1):
        response = message(compressed[:length], f"Content-Encoding: {coding}")
        with Api(say_and_hang_up(response)) as api, pytest.raises(ApiUnavailable, match="cut short"):
            pass_through_undecoded(client(api.url))


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "identity"])
def test_what_is_not_compressed_is_passed_on_as_it_is(client: Client, coding: str) -> None:
    with Api(say(whole(JSON, f"Content-Encoding: {coding}"))) as api:
        assert pass_through_undecoded(client(api.url)) == JSON


class TestJson:
    def test_json_breaks_off_too(self, client: Client) -> None:
        # All of the JSON is there. The checksum after it is not.
        with Api(say(whole(gzip.compress(JSON)[:-8], "Content-Encoding: gzip"))) as api:
            with pytest.raises(ApiUnavailable, match="the compressed body is cut short"):
                client(api.url).post("/").json()

            assert len(api.requests) == 1

    def test_a_token_response_is_lost(self, ask: Callable[..., ApiAnswer]) -> None:
        response = whole(gzip.compress(JSON)[:-8], "Content-Encoding: gzip")
        with Api(say(response)) as api, pytest.raises(AnswerLost, match="the compressed body is cut short"):
            ask(api.url)

    def test_a_safe_call_is_repeated(self, client: Client) -> None:
        bodies = iter([gzip.compress(JSON)[:-8], gzip.compress(JSON)])
        with Api(lambda connection, _: connection.sendall(whole(next(bodies), "Content-Encoding: gzip"))) as api:
            assert client(api.url).get("/").content == JSON


class TestWhatStaysWhole:
    @pytest.mark.parametrize(
        "rest",
        [b"\n", b"\x00", b"\x00" * 1000, b"garbage", b"\x1fgarbage", b"\x1f\x8bgarbage"],
        ids=["a line end", "a zero", "padding", "garbage", "a magic byte", "a magic number"],
    )
    def test_bytes_after_the_end_do_not_matter(
        self, client: Client, message: Callable[..., bytes], rest: bytes
    ) -> None:
        with Api(say_and_hang_up(message(gzip.compress(JSON) + rest, "Content-Encoding: gzip"))) as api:
            for read in READERS:
                assert read(client(api.url)) == JSON, read

    @pytest.mark.parametrize("coding", ["gzip", "deflate", "gzip, deflate"])
    def test_an_empty_body_is_empty_in_any_coding(
        self, client: Client, message: Callable[..., bytes], coding: str
    ) -> None:
        with Api(say_and_hang_up(message(b"", f"Content-Encoding: {coding}"))) as api:
            for read in READERS:
                assert read(client(api.url)) == b"", read

    @pytest.mark.parametrize(
        "body", [gzip.compress(b""), zlib.compress(b""), raw_deflate(b"")], ids=["gzip", "zlib", "raw deflate"]
    )
    def test_nothing_may_be_compressed(self, client: Client, message: Callable[..., bytes], body: bytes) -> None:
        coding = "gzip" if body.startswith(b"\x1f\x8b") else "deflate"
        with Api(say_and_hang_up(message(body, f"Content-Encoding: {coding}"))) as api:
            for read in READERS:
                assert read(client(api.url)) == b"", read

    @pytest.mark.parametrize(
        ("method", "status"), [("HEAD", "200 OK"), ("GET", "204 No Content"), ("GET", "304 Not Modified")]
    )
    def test_a_response_without_a_body_has_none(self, client: Client, method: str, status: str) -> None:
        with Api(say(f"HTTP/1.1 {status}\r\nContent-Length: 50\r\nContent-Encoding: gzip\r\n\r\n".encode())) as api:
            assert client(api.url).request(method, "/").content == b""

    def test_a_part_may_end_anywhere(self, client: Client) -> None:
        part = gzip.compress(JSON)[:-8]
        with Api(say(whole(part, "Content-Encoding: gzip", status="206 Partial Content"))) as api:
            assert [read(client(api.url)) for read in READERS] == [JSON] * len(READERS)
            assert pass_through_undecoded(client(api.url)) == part

    def test_a_reader_may_stop_early(self, client: Client) -> None:
        with Api(say(whole(gzip.compress(LONG), "Content-Encoding: gzip"))) as api:
            response = client(api.url).get("/", stream=True)
            pieces: Iterator[bytes] = response.iter_content(1000)
            assert next(pieces) == LONG[:1000]
            response.close()

            assert api.is_left_alone()
