"""Makes text from outside safe to store, to send and to show, and parses addresses and JSON."""

import codecs
import json
from typing import Any
from urllib.parse import SplitResult, urlsplit

_BYTE_ORDER_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)

_UNITS = ((24 * 3600, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def clean_text(value: object, longest: int) -> str:
    """`value` without control characters and lone surrogates, cut to `longest` characters; empty if it is no text."""
    if not isinstance(value, str):
        return ""
    printable = "".join(character if character.isprintable() else " " for character in value[: longest * 4])
    return printable.strip()[:longest]


def duration_in_words(seconds: float) -> str:
    """A duration in the largest unit that has no remainder: "8 hours", "90 minutes". Less than a second is a second."""
    whole = max(round(seconds), 1)
    size, name = next(unit for unit in _UNITS if whole % unit[0] == 0)
    return f"{whole // size} {name}" if whole == size else f"{whole // size} {name}s"


def parse_address(text: str, *, may_have_query: bool = False) -> SplitResult | None:
    """The pieces of an http or https address; None for any other text, and for one with a user name or a fragment.

    A space, a line end or another control character makes an address invalid. `urlsplit` would remove some of them.
    """
    if not text.isprintable() or " " in text:
        return None
    try:
        url = urlsplit(text)
        usable = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:
        return None
    plain = not (url.fragment or "@" in url.netloc or (url.query and not may_have_query))
    return url if usable and plain else None


def has_byte_order_mark(body: bytes) -> bool:
    """Whether a text begins with U+FEFF in an encoding of Unicode, which the mark then names."""
    return body.lstrip().startswith(_BYTE_ORDER_MARKS)


def parse_json(body: bytes, **options: Any) -> Any:
    """The JSON in `body`, in any encoding of Unicode, and after byte order marks. Raises ValueError or RecursionError.

    Editors on Windows write a mark, and PHP sends one for each of its source files that has one.
    """
    text = body.decode(json.detect_encoding(body), "surrogatepass")
    return json.loads(text.lstrip("\ufeff \t\r\n"), **options)
