"""A dialect: how one kind of API spells sign-in, refresh and revocation.

It spells and reads, and holds nothing of any user. `accounts.rotation.token_requests` sends what it spells.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from accounts.conf import conf
from accounts.exceptions import ApiMisbehaved, ApiUnavailable, CredentialsRefused
from accounts.session.tokens import TokenPair, User
from accounts.text import clean_text
from accounts.upstream.calls import ApiAnswer, ApiCall
from accounts.upstream.retry_after import parse_retry_after

_MAX_NAME = 255


@dataclass(frozen=True, slots=True)
class SignedIn:
    """What a successful sign-in yields. `id_token` is OpenID Connect's, empty where there is none."""

    user: User
    tokens: TokenPair
    id_token: str = field(default="", repr=False)


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
    """What all kinds of API have in common: token pairs that are refreshed, and perhaps revoked.

    Name a subclass in API_DIALECT. How one signs in is for PasswordDialect and OAuth2Dialect to add. A method that has
    to look up something at the provider first may raise ApiUnavailable or ApiMisbehaved: then nothing was sent, and the
    session stays.
    """

    #: May the pair be refreshed while the access token still lives?
    refreshes_early: bool
    #: Does the API accept the same refresh token a second time, within a grace period or because it never rotates it?
    #: Only then is a refresh whose answer got lost sent again at once.
    replay_is_safe: bool
    #: Do a user's sign-ins share something at the provider, so that to revoke one may end the next one too?
    #: Then a sign-in that the same user replaces in the same browser is not revoked.
    sign_ins_are_tied: bool = False

    @abstractmethod
    def refresh(self, tokens: TokenPair) -> ApiCall: ...

    @abstractmethod
    def read_refresh(self, answer: ApiAnswer, tokens: TokenPair) -> RefreshOutcome:
        """Decide by the status and the shape of the answer, never by prose. When in doubt: Unknown."""

    @abstractmethod
    def revoke(self, tokens: TokenPair) -> ApiCall | None:
        """The call that ends the sign-in at the API; None where the API has none. Its answer does not matter."""


class PasswordDialect(Dialect):
    """An API that takes name and password from our sign-in form."""

    #: What the API calls the user's name at login, unless API_USERNAME_FIELD says otherwise.
    username_field: str

    @abstractmethod
    def sign_in(self, username: str, password: str) -> ApiCall: ...

    @abstractmethod
    def read_sign_in(self, answer: ApiAnswer, username: str) -> SignedIn:
        """Raises CredentialsRefused, ApiUnavailable or ApiMisbehaved."""

    def name_field(self) -> str:
        return conf.username_field or self.username_field


def unknown(answer: ApiAnswer) -> Unknown:
    """The outcome of an answer to a refresh that is none of those the dialect knows."""
    return Unknown(f"status {answer.status}", retry_after=parse_retry_after(answer.headers.get("retry-after")))


def refreshed(read: Callable[[], TokenPair]) -> Refreshed | Unknown:
    """The outcome of an answer that says it worked: the pair that `read` finds in it.

    Where that raises ApiMisbehaved, somebody else has answered in the API's place, and nothing is known.
    """
    try:
        return Refreshed(read())
    except ApiMisbehaved as error:
        return Unknown(str(error))


def raise_for_sign_in(answer: ApiAnswer, message: str | None = None) -> None:
    """Raise what an answer to a sign-in other than success outcome: the API's words go to the form, the rest to us.

    `message` is the API's own, where it is not `message` in its JSON. A 4xx with one is meant for the user, whatever
    its number; one without is a gateway's.
    """
    if answer.status >= 500 or answer.status in (408, 425, 429):
        retry_after = parse_retry_after(answer.headers.get("retry-after"))
        raise ApiUnavailable(f"sign-in: status {answer.status}", retry_after=retry_after)
    message = answer.message() if message is None else message
    if 400 <= answer.status < 500 and message:
        raise CredentialsRefused(message)
    if answer.status != 200:
        raise ApiMisbehaved(f"sign-in: status {answer.status}")


def user_from(claims: object, username: str = "") -> User:
    """The user that an object with `id`, `email` and perhaps `name` describes; else one that is named as typed.

    One without any name is called by their id.
    """
    known = claims if isinstance(claims, Mapping) else {}
    email = clean_text(known.get("email"), _MAX_NAME)
    name = clean_text(known.get("name"), _MAX_NAME) or email or clean_text(username, _MAX_NAME)
    id_ = known.get("id")
    if isinstance(id_, bool) or not isinstance(id_, int):
        id_ = clean_text(id_, _MAX_NAME) or name
    return User(id=id_, name=name or str(id_), email=email)
