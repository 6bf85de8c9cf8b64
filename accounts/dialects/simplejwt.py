"""An API of Django REST framework with djangorestframework-simplejwt: POST token/, token/refresh/, token/blacklist/.

It takes a refresh token while the access token still lives. Whether it rotates refresh tokens, and whether it refuses
spent ones, are settings of the API; both ways are fine here.
"""

from accounts.dialects.base import (
    PasswordDialect,
    RefreshOutcome,
    Refused,
    SignedIn,
    raise_for_sign_in,
    refreshed,
    unknown,
    user_from,
)
from accounts.session.tokens import TokenPair, receive_pair, unverified_claims
from accounts.text import clean_text
from accounts.upstream.calls import ApiAnswer, ApiCall


class SimpleJwtDialect(PasswordDialect):
    """Safe for an API that blacklists spent tokens, so a refresh whose answer got lost is not sent again."""

    refreshes_early = True
    replay_is_safe = False
    username_field = "username"

    def sign_in(self, username: str, password: str) -> ApiCall:
        return ApiCall(method="POST", path="/token/", json={self.name_field(): username, "password": password})

    def read_sign_in(self, answer: ApiAnswer, username: str) -> SignedIn:
        raise_for_sign_in(answer, _words(answer))
        tokens = _read_pair(answer)
        claims = unverified_claims(tokens.access)
        name = claims.get("name") or claims.get("username")
        email = claims.get("email") or (username if self.name_field() == "email" else "")
        return SignedIn(user_from({"id": claims.get("user_id"), "name": name, "email": email}, username), tokens)

    def refresh(self, tokens: TokenPair) -> ApiCall:
        return ApiCall(method="POST", path="/token/refresh/", json={"refresh": tokens.refresh})

    def read_refresh(self, answer: ApiAnswer, tokens: TokenPair) -> RefreshOutcome:
        if answer.status == 200:
            return refreshed(lambda: _read_pair(answer, previous=tokens))
        return Refused() if _is_refusal(answer) else unknown(answer)

    def revoke(self, tokens: TokenPair) -> ApiCall:
        return ApiCall(method="POST", path="/token/blacklist/", json={"refresh": tokens.refresh})


def _read_pair(answer: ApiAnswer, previous: TokenPair | None = None) -> TokenPair:
    body = answer.json_object()
    return receive_pair(body.get("access"), body.get("refresh"), previous=previous)


def _is_refusal(answer: ApiAnswer) -> bool:
    """A token that is expired, spent or none has a `code`. A user who may not sign in any more has none, but then it is
    REST framework's own 401, which names its scheme: a gateway's is not taken for it.
    """
    if answer.status != 401:
        return False
    if answer.json_object().get("code") == "token_not_valid":
        return True
    by_framework = answer.headers.get("www-authenticate", "").startswith("Bearer")
    return by_framework and "code" not in answer.json_object() and bool(answer.message("detail"))


def _words(answer: ApiAnswer) -> str:
    """What REST framework has to say: `detail`, or the first complaint about a field."""
    complaints = [value[0] for value in answer.json_object().values() if isinstance(value, list) and value]
    return answer.message("detail") or clean_text(
        next((words for words in complaints if isinstance(words, str)), ""), 300
    )
