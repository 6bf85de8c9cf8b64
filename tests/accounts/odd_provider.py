"""A fake provider over real HTTP. Tests choose its responses, including those that no real provider sends."""

import functools
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from tests.demo_api.messages import Answer, Request
from tests.demo_api.recorded import RecordedApi

CLIENT_ID = "site-under-test"
CLIENT_SECRET = "tarpaulin-and-oakum-" + "0" * 20
REALM = "/realms/harbour"
CONFIGURATION = f"{REALM}/.well-known/openid-configuration"
AUTHORIZATION_SERVER = f"/.well-known/oauth-authorization-server{REALM}"
KEYS = f"{REALM}/keys"
TOKEN = f"{REALM}/token"
USERINFO = f"{REALM}/userinfo"

Claims = dict[str, Any]


@functools.cache
def signing_key(name: str) -> rsa.RSAPrivateKey:
    """One key for each name."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def published(name: str, **more: object) -> dict[str, Any]:
    """The public key of that name as a JWK. A member that is None is left out."""
    key = RSAAlgorithm.to_jwk(signing_key(name).public_key(), as_dict=True)
    return merge({**key, "kid": name, "alg": "RS256", "use": "sig"}, more)


def signed(claims: Claims, name: str = "one", **headers: object) -> str:
    """An ID token signed with the key of that name. A header that is None is left out."""
    return jwt.encode(claims, signing_key(name), algorithm="RS256", headers=merge({"kid": name}, headers))


def renewed(provider: "OddProvider", **changes: Any) -> str:
    """The ID token of a refresh. A claim that is None is left out."""
    now = int(time.time())
    claims = {"iss": provider.issuer, "sub": "ada-1", "aud": CLIENT_ID, "iat": now, "exp": now + 300}
    return signed(merge(claims, changes))


def merge(defaults: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults with changes. A value that is None is left out."""
    return {name: value for name, value in {**defaults, **changes}.items() if value is not None}


class OddProvider(RecordedApi):
    """An OpenID provider without sign-in pages: `come_back` returns the redirect to the site.

    Set its attributes at any time. Each mapping changes the defaults. A value that is None is left out, and a callable
    in `tokens` makes a new value for each response.
    """

    sign_in_call = refresh_call = ("POST", TOKEN)
    revoke_call = ("POST", f"{REALM}/revoke")

    def __init__(self) -> None:
        super().__init__(self._answer_request)
        self.metadata: dict[str, object] = {}
        self.claims: Claims = {}
        self.tokens: dict[str, object] = {}
        self.userinfo: Claims = {}
        #: The status of a response with tokens.
        self.success_status = 200
        self.keys: list[object] = [published("one")]
        self.sign: Callable[[Claims], str] = signed
        #: Responses that replace the others, by path.
        self.answers: dict[str, Answer] = {}
        self._nonces: dict[str, str | None] = {}
        self._access_tokens: set[str] = set()

    @property
    def issuer(self) -> str:
        return f"{self.url}{REALM}"

    @property
    def site_environment(self) -> dict[str, str]:
        return {
            "API_BASE_URL": self.url,
            "API_DIALECT": "oauth2",
            "OAUTH_ISSUER": self.issuer,
            "OAUTH_CLIENT_ID": CLIENT_ID,
            "OAUTH_CLIENT_SECRET": CLIENT_SECRET,
            "OAUTH_SCOPE": "openid profile",
        }

    def come_back(self, url: str, **changes: str | None) -> str:
        """The redirect after `url`: the path of the site's callback, with a code and the state."""
        asked = dict(parse_qsl(urlsplit(url).query))
        code = secrets.token_urlsafe()
        self._nonces[code] = asked.get("nonce")
        answer = merge({"code": code, "state": asked["state"]}, changes)
        return f"{urlsplit(asked['redirect_uri']).path}?{urlencode(answer)}"

    def expire_access_tokens(self) -> None:
        self._access_tokens.clear()

    def revoke_all(self) -> None:
        self._access_tokens.clear()

    @property
    def reuses(self) -> int:
        """Unknown: this provider accepts each refresh token."""
        return 0

    @property
    def refresh_spends(self) -> Counter[str]:
        """Unknown: see `reuses`."""
        return Counter()

    def is_refresh(self, call: Any) -> bool:
        return super().is_refresh(call) and b"grant_type=refresh_token" in call.body

    def _answer_request(self, request: Request) -> Answer:
        if request.path in self.answers:
            return self.answers[request.path]
        answers: dict[str, Callable[[Request], Answer]] = {
            CONFIGURATION: lambda _: Answer.json(200, merge(self._default_metadata(), self.metadata)),
            KEYS: lambda _: Answer.json(200, {"keys": self.keys}),
            TOKEN: self._issue,
            USERINFO: lambda _: Answer.json(200, merge({"sub": "ada-1", "name": "Ada"}, self.userinfo)),
            self.revoke_call[1]: lambda _: Answer.json(200, {}),
            "/protected-route": self._open,
        }
        answer = answers.get(request.path)
        return answer(request) if answer else Answer.json(404, {"error": "not_found"})

    def _default_metadata(self) -> dict[str, object]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "revocation_endpoint": f"{self.issuer}/revoke",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "end_session_endpoint": f"{self.issuer}/sign-out",
            "jwks_uri": f"{self.issuer}/keys",
        }

    def _issue(self, request: Request) -> Answer:
        form = dict(parse_qsl(request.body.decode()))
        tokens: dict[str, Any] = {
            "access_token": secrets.token_urlsafe(),
            "refresh_token": secrets.token_urlsafe(),
            "token_type": "Bearer",
            "expires_in": 300,
        }
        if form.get("grant_type") == "authorization_code":
            tokens["id_token"] = self.sign(merge(self._default_claims(form["code"]), self.claims))
        tokens = {name: value() if callable(value) else value for name, value in merge(tokens, self.tokens).items()}
        self._access_tokens.add(str(tokens.get("access_token")))
        return Answer.json(self.success_status, tokens)

    def _default_claims(self, code: str) -> Claims:
        now = int(time.time())
        return {
            "iss": self.issuer,
            "sub": "ada-1",
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 300,
            "nonce": self._nonces.get(code),
            "name": "Ada",
        }

    def _open(self, request: Request) -> Answer:
        token = request.headers.get("authorization", "").removeprefix("DPoP ").removeprefix("Bearer ")
        if token in self._access_tokens:
            return Answer.json(200, {"data": []})
        return Answer.json(401, {"error": "invalid_token"}, WWW_Authenticate="Bearer")
