"""A dialect: how one kind of API expects sign-in, refresh and revocation.

It builds calls and reads responses, and keeps no state. `accounts.rotation.token_requests` sends the calls.
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

_MAX_NAME_LENGTH = 255


@dataclass(frozen=True, slots=True)
class SignedIn:
    """The result of a successful sign-in. `id_token` is OpenID Connect's, empty if there is none."""

    user: User
    tokens: TokenPair
    id_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The API accepted the refresh token. `tokens` is the next pair."""

    tokens: TokenPair


class Refused:
    """The API itself refused the refresh token: it is spent, expired or revoked. Most APIs do not say which."""


class StillValid:
    """The API does not refresh before the access token expires. It did not spend the refresh token."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Any other response. The refresh token may still be valid.

    `retry_after` is in seconds, None if the API did not say.
    """

    why: str
    retry_after: float | None = None


RefreshOutcome = Refreshed | Refused | StillValid | Unknown


class Dialect(ABC):
    """What all kinds of API have in common: token pairs that can be refreshed, and perhaps revoked.

    PasswordDialect and OAuth2Dialect add the sign-in. API_DIALECT takes the dotted path of a subclass. A method that
    needs the discovery document may raise ApiUnavailable or ApiMisbehaved. Then nothing is sent; the session stays.
    """

    #: Whether the API refreshes the pair before the access token expires.
    refreshes_early: bool
    #: Whether the API accepts the same refresh token twice, within a grace period or because it never rotates it.
    #: Only then a refresh whose response was lost is sent again at once.
    replay_is_safe: bool
    #: Whether revoking one sign-in of a user may end the user's next one too, because the provider ties them together.
    #: Then a sign-in that the same user replaces in the same browser is not revoked.
    sign_ins_are_tied: bool = False

    @abstractmethod
    def refresh(self, tokens: TokenPair) -> ApiCall: ...

    @abstractmethod
    def read_refresh(self, answer: ApiAnswer, tokens: TokenPair) -> RefreshOutcome:
        """Decide by the status and the JSON fields, never by the text of a message. When in doubt, return Unknown."""

    @abstractmethod
    def revoke(self, tokens: TokenPair) -> ApiCall | None:
        """The call that ends the sign-in at the API; None if the API has no such call. Its response is ignored."""


class PasswordDialect(Dialect):
    """An API that takes the user name and password from this site's sign-in form."""

    #: The name of the user name field in the login call. API_USERNAME_FIELD overrides it.
    username_field: str

    @abstractmethod
    def sign_in(self, username: str, password: str) -> ApiCall: ...

    @abstractmethod
    def read_sign_in(self, answer: ApiAnswer, username: str) -> SignedIn:
        """Raises CredentialsRefused, ApiUnavailable or ApiMisbehaved."""

    def name_field(self) -> str:
        return conf.username_field or self.username_field


def unknown(answer: ApiAnswer) -> Unknown:
    """The outcome of a response that the dialect does not know."""
    return Unknown(f"status {answer.status}", retry_after=parse_retry_after(answer.headers.get("retry-after")))


def refreshed(read: Callable[[], TokenPair]) -> Refreshed | Unknown:
    """The outcome of a success status: the pair that `read` returns.

    If `read` raises ApiMisbehaved, the response came from something else, such as a gateway: the outcome is Unknown.
    """
    try:
        return Refreshed(read())
    except ApiMisbehaved as error:
        return Unknown(str(error))


def raise_for_sign_in(answer: ApiAnswer, message: str | None = None) -> None:
    """Raise ApiUnavailable, CredentialsRefused or ApiMisbehaved unless the status is 200.

    Any 4xx with the API's message becomes CredentialsRefused, and the form shows the message. A 4xx without one comes
    from a gateway. Pass `message` if the API does not send it as `message` in its JSON.
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
    """The user in an object with `id`, `email` and perhaps `name`.

    The name is `name`, or else the email, the `username` that was typed, or the id. The id falls back to the name.
    """
    fields = claims if isinstance(claims, Mapping) else {}
    email = clean_text(fields.get("email"), _MAX_NAME_LENGTH)
    name = clean_text(fields.get("name"), _MAX_NAME_LENGTH) or email or clean_text(username, _MAX_NAME_LENGTH)
    id_ = fields.get("id")
    if isinstance(id_, bool) or not isinstance(id_, int):
        id_ = clean_text(id_, _MAX_NAME_LENGTH) or name
    return User(id=id_, name=name or str(id_), email=email)
