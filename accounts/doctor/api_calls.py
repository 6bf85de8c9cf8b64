"""What the examinations of the API ask of it."""

import time
from contextlib import suppress

from accounts.auth_api import request_refresh, request_revocation
from accounts.conf import conf
from accounts.dialects.base import Dialect, RefreshOutcome, Unknown
from accounts.doctor.network import TROUBLE, ask
from accounts.exceptions import ApiError
from accounts.tokens import TokenPair

JSON = {"Accept": "application/json", "Content-Type": "application/json"}
ITS_WORDS = "Is API_BASE_URL right to the last part of its path, and is API_DIALECT this API's?"


def takes_passwords(dialect: Dialect) -> bool:
    return hasattr(dialect, "sign_in") and not getattr(dialect, "signs_in_by_redirect", False)


def refresh_once(tokens: TokenPair) -> RefreshOutcome:
    """A dialect that has to look something up first may fail before anything is sent: nothing is known then either."""
    ends_at = time.monotonic() + conf.attempt_seconds
    try:
        return request_refresh(tokens, address="", ends_at=ends_at, renew_lease=lambda: None)
    except ApiError as error:
        return Unknown(str(error))


def revoke(tokens: TokenPair) -> None:
    """Best effort, as when somebody signs out."""
    with suppress(ApiError):
        request_revocation(tokens, address="")


def call(path: str, token: str) -> tuple[int | None, str]:
    """The status of the answer; None, and what went wrong, for none."""
    try:
        with ask(
            "GET",
            conf.base_url + path,
            headers={**JSON, "Authorization": f"Bearer {token}"},
            read_seconds=conf.read_timeout,
        ) as response:
            return response.status_code, ""
    except TROUBLE as error:
        return None, type(error).__name__
