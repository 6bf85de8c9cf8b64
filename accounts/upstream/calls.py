"""A call to the API's token endpoints and its response, as values. `accounts.upstream.transport` sends the call."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from accounts.text import clean_text, parse_json

_MAX_MESSAGE = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiCall:
    """A request. `path` is relative to API_BASE_URL, or an absolute URL if the provider is another host.

    `json` is sent as a JSON body, `form` as application/x-www-form-urlencoded. With a `dpop_key`, it is sent with a
    proof of this key (RFC 9449), which has `dpop_nonce` or else the newest nonce of the server.
    """

    method: str
    path: str
    json: Mapping[str, object] | None = field(default=None, repr=False)
    form: Mapping[str, str] | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    dpop_key: str = field(default="", repr=False)
    dpop_nonce: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiAnswer:
    """A complete response. Header names are in lower case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    def json_object(self) -> dict[str, Any]:
        """The JSON object in the body; {} for any other body, such as a gateway's HTML page."""
        try:
            value = parse_json(self.body)
        except (ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}

    def message(self, name: str = "message") -> str:
        """The API's message to the user, from the field `name` of its JSON; empty if there is none."""
        return clean_text(self.json_object().get(name), _MAX_MESSAGE)
