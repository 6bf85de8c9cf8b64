"""An API of Django REST framework with djangorestframework-simplejwt: POST token/, token/refresh/, token/blacklist/.

It refreshes before the access token expires. Settings of the API decide whether it rotates refresh tokens and whether
it refuses spent ones. This dialect works with all of them.
"""

from accounts.dialects import base
from accounts.session.tokens import TokenPair, receive_pair, unverified_claims
from accounts.text import clean_text
from accounts.upstream.calls import ApiAnswer, ApiCall


class SimpleJwtDialect(base.PasswordDialect):
    """The API may blacklist spent tokens, so a refresh whose response was lost is not sent again."""

    refreshes_early = True
    replay_is_safe = False
    username_field = "username"

    def sign_in(self, username: str, password: str) -> ApiCall:
        return ApiCall(method="POST", path="/token/", json={self.name_field(): username, "password": password})

    def read_sign_in(self, answer: ApiAnswer, username: str) -> base.SignedIn:
        base.raise_for_sign_in(answer, _error_message(answer))
        tokens = _read_pair(answer)
        claims = unverified_claims(tokens.access)
        name = claims.get("name") or claims.get("username")
        email = claims.get("email") or (username if self.name_field() == "email" else "")
        return base.SignedIn(
            base.user_from({"id": claims.get("user_id"), "name": name, "email": email}, username), tokens
        )

    def refresh(self, tokens: TokenPair) -> ApiCall:
        return ApiCall(method="POST", path="/token/refresh/", json={"refresh": tokens.refresh})

    def read_refresh(self, answer: ApiAnswer, tokens: TokenPair) -> base.RefreshOutcome:
        if base.is_success(answer):
            return base.refreshed(lambda: _read_pair(answer, previous=tokens))
        if _is_user_refused(answer):
            return base.Refused()
        return base.refusal_by_code(answer) or base.unknown(answer)

    def revoke(self, tokens: TokenPair) -> ApiCall:
        return ApiCall(method="POST", path="/token/blacklist/", json={"refresh": tokens.refresh})


def _read_pair(answer: ApiAnswer, previous: TokenPair | None = None) -> TokenPair:
    body = answer.json_object()
    return receive_pair(body.get("access"), body.get("refresh"), previous=previous)


def _is_user_refused(answer: ApiAnswer) -> bool:
    """Whether the user is deactivated. REST framework's 401 then has no `code`, and names its scheme, Bearer."""
    if answer.status != 401:
        return False
    from_framework = answer.headers.get("www-authenticate", "").startswith("Bearer")
    return from_framework and "code" not in answer.json_object() and bool(answer.message("detail"))


def _error_message(answer: ApiAnswer) -> str:
    """REST framework's `detail`, or the first error of a field."""
    errors = [value[0] for value in answer.json_object().values() if isinstance(value, list) and value]
    return answer.message("detail") or clean_text(next((error for error in errors if isinstance(error, str)), ""), 300)
