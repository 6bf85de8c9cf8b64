"""What the examinations of the API ask of it."""

import time

from accounts.conf import conf
from accounts.dialects.base import RefreshOutcome
from accounts.doctor.network import TROUBLE, ask
from accounts.rotation.token_requests import request_refresh
from accounts.session.tokens import TokenPair

JSON = {"Accept": "application/json", "Content-Type": "application/json"}
ITS_WORDS = "Is API_BASE_URL right to the last part of its path, and is API_DIALECT this API's?"


def refresh_once(tokens: TokenPair) -> RefreshOutcome:
    """A refresh as the site does it, without a second attempt."""
    ends_at = time.monotonic() + conf.attempt_seconds
    return request_refresh(tokens, address="", ends_at=ends_at, renew_lease=lambda: None)


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
