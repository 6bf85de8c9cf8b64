"""A dialect: how one kind of API expects sign-in, refresh and revocation.

It builds calls and reads responses, and keeps no state. `accounts.rotation.token_requests` sends the calls.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from accounts.conf import conf
from accounts.exceptions import ApiMisbehaved, ApiUnavailable, CredentialsRefused
from accounts.session.tokens import TokenPair, User, is_token
from accounts.text import clean_text
from accounts.upstream.calls import ApiAnswer, ApiCall
from accounts.upstream.retry_after import parse_retry_after

_MAX_NAME_LENGTH = 255

_SUCCESS_STATUSES = range(200, 300)
# RFC 6749 section 5.2 has 400 and 401; Auth0 sends 403, other APIs 404.
_REFUSAL_STATUSES = (400, 401, 403, 404)

# Error codes that can only mean that the refresh token is refused, or that the user has to sign in again: RFC 6749
# section 5.2, OpenID Connect Core 3.1.2.6, and the codes of GitHub, Slack, Supabase, Auth0 and SimpleJWT.
_REFUSAL = re.compile(
    r"invalid_grant|token_not_valid|bad_refresh_token"
    r"|(invalid|expired|revoked|unknown|used|missing)_refresh_token"
    r"|refresh_token_(invalid|not_valid|expired|revoked|not_found|used|already_used|reused|unknown|mismatch)"
    r"|(interaction|login|consent|account_selection|session_selection|mfa|reauthentication)_required"
)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """The result of a successful sign-in. `id_token` is OpenID Connect's, empty if there is none.

    `fields` is what the response says of the user beside the tokens, for API_USER_CLAIMS. `sid` is the provider's
    session, which a logout token may name; None if it does not say.
    """

    user: User
    tokens: TokenPair
    id_token: str = field(default="", repr=False)
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False)
    sid: object = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The API accepted the refresh token. `tokens` is the next pair.

    `id_token` is a newer ID token (OpenID Connect Core 12.2), empty if there is none. `fields` is as in SignedIn.
    `user_id` is the id of the user whose tokens these are, empty if the response does not say. A rotation compares it.
    """

    tokens: TokenPair
    id_token: str = field(default="", repr=False)
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False)
    user_id: int | str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """The API refused the refresh token: it is spent, expired or revoked. Most APIs do not say which.

    `is_certain`: an error code proves it. Otherwise a gateway may have sent the response in place of the API, so
    `accounts.rotation.refusal_check` checks that before the session ends.
    """

    is_certain: bool = False


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


def is_later(answer: ApiAnswer) -> bool:
    """Whether the status says to try again later. It says nothing about the tokens or the credentials."""
    return answer.status >= 500 or answer.status in (408, 425, 429)


def is_success(answer: ApiAnswer) -> bool:
    """Whether the status is 2xx and the JSON has no error. Some APIs send a pair with 201, and errors with 200."""
    has_error = bool(answer.json_object().get("error")) or refusal_by_code(answer) is not None
    return answer.status in _SUCCESS_STATUSES and not has_error


def error_code(answer: ApiAnswer) -> str:
    """The first of the error codes; empty if there is none."""
    return next(iter(_error_codes(answer)), "")


def _error_codes(answer: ApiAnswer) -> list[str]:
    """The error codes in `error`, `code` and `error_code` of the JSON, and in `code` of an `error` object.

    In lower case, with underscores.
    """
    body = answer.json_object()
    nested = body.get("error")
    values = [nested, body.get("code"), body.get("error_code"), nested.get("code") if isinstance(nested, dict) else ""]
    texts = (re.sub(r"[\s.-]+", "_", value.strip()).lower() for value in values if isinstance(value, str))
    return [text for text in texts if re.fullmatch(r"[a-z_]{1,100}", text)]


def refusal_by_code(answer: ApiAnswer) -> Refused | None:
    """The refusal that an error code proves; None if none proves it. Some APIs send the error with status 200.

    `invalid_token` and the like prove none: they may be about the token of something before the API (RFC 6750).
    """
    if answer.status not in (*_SUCCESS_STATUSES, *_REFUSAL_STATUSES):
        return None
    return Refused(is_certain=True) if any(map(_REFUSAL.fullmatch, _error_codes(answer))) else None


def unknown(answer: ApiAnswer, *, lacks: str = "") -> Unknown:
    """The outcome of a response that the dialect does not know. `lacks`: the field that would make it a refusal."""
    code = error_code(answer)
    why = f"status {answer.status}" + (f", error {code}" if code else "")
    why += f", without {lacks!r} in its JSON" if lacks else ""
    return Unknown(why, retry_after=parse_retry_after(answer.headers.get("retry-after")))


def refreshed(
    read: Callable[[], TokenPair], id_token: object = None, fields: object = None, *, user_id: int | str = ""
) -> Refreshed | Unknown:
    """The outcome of a success status: the pair that `read` returns, with what else the response has.

    If `read` raises ApiMisbehaved, the response came from something else, such as a gateway: the outcome is Unknown.
    """
    try:
        return Refreshed(read(), text_of_token(id_token), mapping(fields), user_id)
    except ApiMisbehaved as error:
        return Unknown(str(error))


def text_of_token(value: object) -> str:
    """`value` if it is a token, else ""."""
    return str(value) if is_token(value) else ""


def mapping(value: object) -> Mapping[str, Any]:
    """`value` if it is a JSON object, else {}."""
    return value if isinstance(value, Mapping) else {}


def raise_for_sign_in(answer: ApiAnswer, message: str | None = None) -> None:
    """Raise ApiUnavailable, CredentialsRefused or ApiMisbehaved unless the response is a success.

    Any 4xx, or 2xx with an error, becomes CredentialsRefused if it has the API's message, and the form shows the
    message. A 4xx without one comes from a gateway. Pass `message` if it is not in the field `message` of the JSON.
    """
    if is_later(answer):
        retry_after = parse_retry_after(answer.headers.get("retry-after"))
        raise ApiUnavailable(f"sign-in: status {answer.status}", retry_after=retry_after)
    if is_success(answer):
        return
    message = answer.message() if message is None else message
    if message and not 300 <= answer.status < 400:
        raise CredentialsRefused(message)
    lacks = "" if 300 <= answer.status < 400 else ", without the API's message to the user"
    raise ApiMisbehaved(f"sign-in: {unknown(answer).why}{lacks}")


def user_from(claims: object, username: str = "") -> User:
    """The user in an object with `id`, `email` and perhaps `name`.

    The name is `name`, or else the email, the `username` that was typed, or the id. Without an `id`, the id is the
    `username`, with which the API has identified the user. Two users may have the same name or the same email.
    """
    fields = mapping(claims)
    email = clean_text(fields.get("email"), _MAX_NAME_LENGTH)
    typed = clean_text(username, _MAX_NAME_LENGTH)
    name = clean_text(fields.get("name"), _MAX_NAME_LENGTH) or email or typed
    id_ = fields.get("id")
    if isinstance(id_, bool) or not isinstance(id_, int):
        id_ = clean_text(id_, _MAX_NAME_LENGTH) or typed
    return User(id=id_, name=name or str(id_), email=email)
