"""The default dialect: POST /auth/login, /auth/refresh and /auth/logout with a pair of JWTs (or opaque tokens)."""

from accounts.dialects import base
from accounts.session.tokens import TokenPair, receive_pair, unverified_claims
from accounts.upstream.calls import ApiAnswer, ApiCall


class TokenPairDialect(base.PasswordDialect):
    """An API that needs both tokens for a refresh, and refreshes only after the access token has expired."""

    refreshes_early = False
    replay_is_safe = False
    username_field = "email"
    #: The field of a refusal that has the API's words. A refusal without it is a gateway's.
    message_field = "message"

    def sign_in(self, username: str, password: str) -> ApiCall:
        return ApiCall(method="POST", path="/auth/login", json={self.name_field(): username, "password": password})

    def read_sign_in(self, answer: ApiAnswer, username: str) -> base.SignedIn:
        base.raise_for_sign_in(answer, answer.message(self.message_field))
        tokens = _read_pair(answer)
        fields = answer.json_object().get("user")
        user = unverified_claims(tokens.access).get("user") or fields
        return base.SignedIn(base.user_from(user, username), tokens, fields=base.mapping(fields))

    def refresh(self, tokens: TokenPair) -> ApiCall:
        return ApiCall(
            method="POST", path="/auth/refresh", json={"accessToken": tokens.access, "refreshToken": tokens.refresh}
        )

    def read_refresh(self, answer: ApiAnswer, tokens: TokenPair) -> base.RefreshOutcome:
        if base.is_success(answer):
            return base.refreshed(lambda: _read_pair(answer, previous=tokens), fields=answer.json_object().get("user"))
        refusal = base.refusal_by_code(answer)
        if refusal is not None:
            return refusal
        if answer.status not in (400, 401, 404):
            return base.unknown(answer)
        # A gateway's page with the same status says nothing.
        if not isinstance(answer.json_object().get(self.message_field), str):
            return base.unknown(answer, lacks=self.message_field)
        return base.StillValid() if answer.status == 400 else base.Refused()

    def revoke(self, tokens: TokenPair) -> ApiCall:
        return ApiCall(method="POST", path="/auth/logout", json={"refreshToken": tokens.refresh})


def _read_pair(answer: ApiAnswer, previous: TokenPair | None = None) -> TokenPair:
    body = answer.json_object()
    return receive_pair(
        body.get("accessToken"),
        body.get("refreshToken"),
        access_expires_in=body.get("expires_in"),
        refresh_expires_in=body.get("refresh_expires_in"),
        previous=previous,
    )
