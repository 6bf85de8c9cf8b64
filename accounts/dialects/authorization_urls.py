"""Parts of the URL of an authorization request."""

import base64
import hashlib
from collections.abc import Mapping
from urllib.parse import urlencode, urlsplit, urlunsplit


def join_prompts(configured: str, asked: str) -> str:
    """The values of both. `none` forbids the provider's pages, so it does not count if a visitor asks for others."""
    if not set(asked.split()) - {"none"}:
        return configured
    return " ".join(dict.fromkeys(value for value in f"{configured} {asked}".split() if value != "none"))


def prompt_for_switch(configured: str) -> str:
    """`prompt` (OpenID Connect Core 3.1.2.1) with `login`, which every provider must know, unlike `select_account`."""
    values = configured.split()
    return configured if {"login", "select_account"} & set(values) else " ".join([*values, "login"])


def s256(code_verifier: str) -> str:
    digest = hashlib.sha256(code_verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def with_query(url: str, parameters: Mapping[str, str]) -> str:
    """Add `parameters` and keep the endpoint's own query (RFC 6749 section 3.1)."""
    parts = urlsplit(url)
    query = urlencode(parameters)
    return urlunsplit(parts._replace(query=f"{parts.query}&{query}" if parts.query else query))
