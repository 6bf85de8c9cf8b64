"""What can go wrong, split by what the caller does about it.

AccountsError
├── SignInRequired        to the sign-in page
│   ├── NotSignedIn       this browser holds no session
│   └── SessionEnded      it did; `reason` says why it ended
├── CredentialsRefused    back to the form, with the API's own words
├── TooManyAttempts       back to the form: 429 and Retry-After
└── ApiError              the session is good: keep it, try again later
    ├── ApiUnavailable    no answer in time, or a 5xx: 503 and Retry-After
    │   └── BodyConsumed     the same request, sent again, will do
    └── ApiMisbehaved     an answer we cannot use: 502
"""

import math

RETRY_AFTER_SECONDS = 5


class AccountsError(Exception):
    """The root of everything that this package raises on purpose."""


class SignInRequired(AccountsError):
    """The visitor has to sign in before this request can be answered."""


class NotSignedIn(SignInRequired):
    """This browser holds no session, or one that no key opens."""


class SessionEnded(SignInRequired):
    """The browser's session is over.

    `reason` is one of `accounts.models.EndReason`. `delete_cookie` says whether this request may delete the cookie:
    only one that ended the session itself or arrived after the end; an older one might wipe a newer sign-in.
    """

    def __init__(self, reason: str, *, delete_cookie: bool) -> None:
        super().__init__(f"the session has ended: {reason}")
        self.reason = reason
        self.delete_cookie = delete_cookie


class CredentialsRefused(AccountsError):
    """The API did not accept name and password; `message` is the API's own, meant for the user."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class TooManyAttempts(AccountsError):
    """Too many sign-ins have failed: nobody is asked before `retry_after` whole seconds have passed."""

    def __init__(self, *, retry_after: float) -> None:
        self.retry_after = max(1, math.ceil(retry_after))
        self.message = f"Too many attempts to sign in have failed. Please try again in {_in_words(self.retry_after)}."
        super().__init__(self.message)


class ApiError(AccountsError):
    """The API failed us; the session is still good."""


class ApiUnavailable(ApiError):
    """No answer in time, no connection, or a 5xx. `retry_after` becomes whole seconds, at least 1; None means 5."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = RETRY_AFTER_SECONDS if retry_after is None else max(1, math.ceil(retry_after))


class BodyConsumed(ApiUnavailable):
    """The access token had expired, and the request's body cannot be sent a second time; the session is fresh now."""


class ApiMisbehaved(ApiError):
    """The API answered, but with something that this site cannot use."""


def _in_words(seconds: int) -> str:
    """A time to wait, rounded up."""
    for size, name in ((3600, "hours"), (60, "minutes")):
        if seconds > size:
            return f"{math.ceil(seconds / size)} {name}"
    return "a minute"
