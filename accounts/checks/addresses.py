"""What the checks of settings ask of an address."""

from accounts.text import parse_address


def is_unencrypted(url: str) -> bool:
    """Whether requests to `url` leave this host without TLS. False for a text that is not an address."""
    pieces = parse_address(url, may_have_query=True)
    return pieces is not None and pieces.scheme != "https" and pieces.hostname not in ("localhost", "127.0.0.1", "::1")
