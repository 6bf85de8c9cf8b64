"""JSON that begins with a byte order mark (U+FEFF) is read, by views and by dialects."""

import codecs
import json
from collections.abc import Callable

import pytest
import requests

from accounts.api_client import ApiClient
from accounts.upstream.calls import ApiAnswer
from tests.accounts.upstream.scripted_api import Api, say, whole

TIDES = {"name": "Zoë", "tides": [1, 2]}
TEXT = json.dumps(TIDES, ensure_ascii=False)

MARKED = {
    "UTF-8": codecs.BOM_UTF8 + TEXT.encode(),
    "UTF-8 twice": codecs.BOM_UTF8 * 2 + TEXT.encode(),
    "UTF-8 after a line end": b"\r\n" + codecs.BOM_UTF8 + TEXT.encode(),
    "UTF-16 LE": codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
    "UTF-16 BE": codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
    "UTF-32 LE": codecs.BOM_UTF32_LE + TEXT.encode("utf-32-le"),
    "UTF-32 BE": codecs.BOM_UTF32_BE + TEXT.encode("utf-32-be"),
}


@pytest.mark.parametrize("body", MARKED.values(), ids=MARKED)
class TestByteOrderMark:
    @pytest.mark.parametrize(
        "content_type",
        [
            "application/json",
            "application/json; charset=utf-8",
            "application/json; charset=utf-16le",
            "application/json; charset=iso-8859-1",
            "application/json; charset=no-such",
            "text/html",
        ],
    )
    def test_a_view_reads_it(self, client: Callable[[str], ApiClient], body: bytes, content_type: str) -> None:
        with Api(say(whole(body, f"Content-Type: {content_type}"))) as api:
            assert client(api.url).get("/").json() == TIDES

    def test_so_does_a_dialect(self, ask: Callable[..., ApiAnswer], body: bytes) -> None:
        with Api(say(whole(body))) as api:
            assert ask(api.url).json_object() == TIDES


@pytest.mark.parametrize(
    "rest", [b"", b"<h1>Hello</h1>", b'{"cut', b"[" * 100_000], ids=["nothing else", "HTML", "cut", "nested too deep"]
)
def test_what_is_no_json_after_a_mark_is_none(
    client: Callable[[str], ApiClient], ask: Callable[..., ApiAnswer], rest: bytes
) -> None:
    with Api(say(whole(codecs.BOM_UTF8 + rest))) as api:
        with pytest.raises(requests.JSONDecodeError):
            client(api.url).get("/").json()

        assert ask(api.url).json_object() == {}


def test_without_a_mark_a_charset_counts(client: Callable[[str], ApiClient]) -> None:
    with Api(say(whole(TEXT.encode("latin-1"), "Content-Type: application/json; charset=iso-8859-1"))) as api:
        assert client(api.url).get("/").json() == TIDES


def test_the_parsers_options_count(client: Callable[[str], ApiClient]) -> None:
    with Api(say(whole(codecs.BOM_UTF8 + b"[1.5]"))) as api:
        assert client(api.url).get("/").json(parse_float=str) == ["1.5"]
