"""The exceptions of this package, grouped by what the caller does about them.

AccountsError
├── SignInRequired        redirect to the sign-in page
│   ├── NotSignedIn       the browser has no session
│   ├── DeviceUnproven    the session is bound to a device that the request does not prove: 403, and the session stays
│   ├── SessionEnded      its session has ended; `reason` says why
│   └── FreshSignInRequired  it is too old for a page, or of another kind (accounts.session.freshness)
├── CredentialsRefused    show the form again, with the API's message
├── AlreadyUsed           begin another sign-in
├── TooManyAttempts       show the form again: 429 and Retry-After
│   └── TooManyAtOnce     others are still under way; none of them has failed
└── ApiError              keep the session, try again later
    ├── ApiUnavailable    no response in time, or a 5xx: 503 and Retry-After
    │   ├── DatabaseUnavailable  the site's own database
    │   └── BodyConsumed  the same request will succeed when it is sent again
    └── ApiMisbehaved     an unusable response: 502
        ├── WrongIssuer   the browser comes back from another provider
        └── RequestRefused  the provider refuses to begin a sign-in
"""

import math

RETRY_AFTER_SECONDS = 5


class AccountsError(Exception):
    """The base class of all exceptions of this package."""


class SignInRequired(AccountsError):
    """The user has to sign in first."""


class NotSignedIn(SignInRequired):
    """The browser has no session, or has one that no key opens."""


class DeviceUnproven(SignInRequired):
    """The session is bound to a device, and the request has no valid proof of it. The session and its cookie stay."""


class SessionEnded(SignInRequired):
    """The browser's session has ended.

    `reason` is an `accounts.models.EndReason`, or "forgotten" where the record is gone. `delete_cookie` says whether
    this request may delete the cookie. Only a request that ended the session or arrived after its end may do so: an
    earlier request could delete the cookie of a newer sign-in.
    """

    def __init__(self, reason: str, *, delete_cookie: bool) -> None:
        super().__init__(f"the session has ended: {reason}")
        self.reason = reason
        self.delete_cookie = delete_cookie


class CredentialsRefused(AccountsError):
    """The API did not accept name and password; `message` is the API's text for the user."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class AlreadyUsed(AccountsError):
    """Another request has used this sign-in, and its session is not for this one: it has ended, or is too old."""


class TooManyAttempts(AccountsError):
    """Too many sign-ins have failed. `retry_after` is the time in whole seconds until the next attempt is allowed."""

    def __init__(self, *, retry_after: float) -> None:
        self.retry_after = max(1, math.ceil(retry_after))
        self.message = f"Too many attempts to sign in have failed. Please try again in {in_words(self.retry_after)}."
        super().__init__(self.message)


class TooManyAtOnce(TooManyAttempts):
    """Too many sign-ins are under way. They have not failed, so the next attempt is soon allowed."""

    def __init__(self) -> None:
        super().__init__(retry_after=RETRY_AFTER_SECONDS)
        self.message = "Too many sign-ins are under way. Please try again in some seconds."


class ApiError(AccountsError):
    """The API failed. The session is still valid."""


class ApiUnavailable(ApiError):
    """No response in time, no connection, or a 5xx. `retry_after` becomes whole seconds, at least 1; None means 5.

    `may_have_acted` is False only if it is certain that the API has not read the call.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, may_have_acted: bool = True) -> None:
        super().__init__(message)
        self.may_have_acted = may_have_acted
        self.retry_after = RETRY_AFTER_SECONDS if retry_after is None else max(1, math.ceil(retry_after))


class DatabaseUnavailable(ApiUnavailable):
    """The database of the session records does not respond."""


class BodyConsumed(ApiUnavailable):
    """The session has new tokens now, and the request's body cannot be sent again, or took too long to arrive."""


class ApiMisbehaved(ApiError):
    """The API sent a response that this site cannot use."""


class WrongIssuer(ApiMisbehaved):
    """The authorization response names another provider than the browser was sent to (RFC 9207). Perhaps an attack."""


class RequestRefused(ApiMisbehaved):
    """The provider refuses a pushed authorization request; `words` is its text for people, perhaps empty."""

    def __init__(self, message: str, words: str) -> None:
        super().__init__(message)
        self.words = words


def in_words(seconds: int) -> str:
    """A waiting time, rounded up."""
    for size, name in ((3600, "hours"), (60, "minutes")):
        if seconds > size:
            return f"{math.ceil(seconds / size)} {name}"
    return "a minute"
