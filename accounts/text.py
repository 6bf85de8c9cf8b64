"""Makes text from outside safe to store, to send and to show, and parses addresses."""

from urllib.parse import SplitResult, urlsplit


def clean_text(value: object, longest: int) -> str:
    """`value` without control characters and lone surrogates, cut to `longest` characters; empty if it is no text."""
    if not isinstance(value, str):
        return ""
    printable = "".join(character if character.isprintable() else " " for character in value[: longest * 4])
    return printable.strip()[:longest]


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
