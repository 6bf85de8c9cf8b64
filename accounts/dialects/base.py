"""A dialect: how one kind of API spells sign-in, refresh and revocation. It spells and reads; it sends nothing."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from accounts.conf import conf
from accounts.exceptions import ApiMisbehaved, ApiUnavailable, CredentialsRefused
from accounts.retry_after import parse_retry_after
from accounts.text import clean_text
from accounts.tokens import TokenPair, User

_LONGEST_MESSAGE = 300
_LONGEST_NAME = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiCall:
    """A call to the API's own sign-in machinery. `path` is relative to API_BASE_URL; `json` becomes the body."""

    method: str
    path: str
    json: Mapping[str, object] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiAnswer:
    """What came back, read to its end. Header names in lower case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    def json_object(self) -> dict[str, Any]:
        """The JSON object in the body; {} where the body is anything else, such as a gateway's HTML page."""
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}

    def message(self) -> str:
        """The API's own words, for a person to read; empty where it has none."""
        return clean_text(self.json_object().get("message"), _LONGEST_MESSAGE)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """What a successful sign-in yields."""

    user: User
    tokens: TokenPair


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The API spent the refresh token, and this is the next pair."""

    tokens: TokenPair


class Refused:
    """The API refused the refresh token, in its own words: spent, expired or revoked, which most do not tell apart."""


class StillValid:
    """The API does not refresh while the access token lives. It has spent nothing."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Anything else. The refresh token may be as good as before.

    `retry_after` is in seconds, None if the API said nothing of it.
    """

    why: str
    retry_after: float | None = None


RefreshOutcome = Refreshed | Refused | StillValid | Unknown


class Dialect(ABC):
    """One kind of API. Subclass it, and name the subclass in API_DIALECT."""

    #: May the pair be refreshed while the access token still lives?
    refreshes_early: bool
    #: Does the API accept the same refresh token a second time, within a grace period or because it never rotates it?
    #: Only then is a refresh whose answer got lost sent again at once.
    replay_is_safe: bool
    #: What the API calls the user's name at login, unless API_USERNAME_FIELD says otherwise.
    username_field: str

    @abstractmethod
    def sign_in(self, username: str, password: str) -> ApiCall: ...

    @abstractmethod
    def read_sign_in(self, answer: ApiAnswer, username: str) -> SignedIn:
        """Raises CredentialsRefused, ApiUnavailable or ApiMisbehaved."""

    @abstractmethod
    def refresh(self, tokens: TokenPair) -> ApiCall: ...

    @abstractmethod
    def read_refresh(self, answer: ApiAnswer, tokens: TokenPair) -> RefreshOutcome:
        """Decide by the status and the shape of the answer, never by prose. When in doubt: Unknown."""

    @abstractmethod
    def revoke(self, tokens: TokenPair) -> ApiCall | None:
        """The call that ends the sign-in at the API; None where the API has none. Its answer does not matter."""

    def name_field(self) -> str:
        return conf.username_field or self.username_field


def unknown(answer: ApiAnswer) -> Unknown:
    """The outcome of an answer to a refresh that is none of those the dialect knows."""
    return Unknown(f"status {answer.status}", retry_after=parse_retry_after(answer.headers.get("retry-after")))


def raise_for_sign_in(answer: ApiAnswer) -> None:
    """Raise what an answer to a sign-in other than success means: the API's words go to the form, the rest to us.

    A 4xx with a message of the API is meant for the user, whatever its number; one without is a gateway's.
    """
    if answer.status >= 500 or answer.status in (408, 425, 429):
        retry_after = parse_retry_after(answer.headers.get("retry-after"))
        raise ApiUnavailable(f"sign-in: status {answer.status}", retry_after=retry_after)
    if 400 <= answer.status < 500 and answer.message():
        raise CredentialsRefused(answer.message())
    if answer.status != 200:
        raise ApiMisbehaved(f"sign-in: status {answer.status}")


def user_from(claims: object, username: str) -> User:
    """The user that an object with `id`, `email` and perhaps `name` describes; else one that is named as typed."""
    known = claims if isinstance(claims, Mapping) else {}
    email = clean_text(known.get("email"), _LONGEST_NAME)
    name = clean_text(known.get("name"), _LONGEST_NAME) or email or clean_text(username, _LONGEST_NAME)
    id_ = known.get("id")
    if isinstance(id_, bool) or not isinstance(id_, int):
        id_ = clean_text(id_, _LONGEST_NAME) or name
    return User(id=id_, name=name, email=email)
