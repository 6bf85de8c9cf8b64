"""oidc-provider behaves as the rest of the tests take it to behave; its pages are walked over plain HTTP."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlencode, urlsplit

import jwt
import pytest
import requests

from tests.demo_api.readings import ROWS
from tests.real_apis.oauth.client import CLIENT_ID, CLIENT_SECRET, SCOPE
from tests.real_apis.oidc import OidcProvider
from tests.real_apis.visitor import Visitor

SITE = "http://127.0.0.1:9"
CALLBACK = f"{SITE}/accounts/callback/"
CHALLENGE = {"code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", "code_challenge_method": "S256"}
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
ADA = "ada@example.com"
Tokens = dict[str, Any]


@pytest.fixture(scope="module")
def shared_api() -> Iterator[OidcProvider]:
    with OidcProvider(par="offered") as api:
        api.register_site(SITE)
        yield api


@pytest.fixture
def api(shared_api: OidcProvider) -> OidcProvider:
    shared_api.forget_calls()
    return shared_api


def request_parameters(**changes: str) -> dict[str, str]:
    fixed = {"response_type": "code", "client_id": CLIENT_ID, "redirect_uri": CALLBACK, "scope": SCOPE}
    return {**fixed, "state": "the-state", "nonce": "the-nonce", **CHALLENGE, **changes}


def authorize(api: OidcProvider, visitor: Visitor | None = None, **changes: str) -> dict[str, str]:
    """What the provider sends the visitor back to the site with."""
    back = (visitor or Visitor()).follow(f"{api.issuer}/auth?{urlencode(request_parameters(**changes))}")
    assert back.partition("?")[0] == CALLBACK
    return dict(parse_qsl(urlsplit(back).query))


def post(api: OidcProvider, path: str, **fields: str) -> requests.Response:
    return requests.post(api.url + path, data=fields, auth=(CLIENT_ID, CLIENT_SECRET))


def sign_in(api: OidcProvider, visitor: Visitor | None = None, **changes: str) -> Tokens:
    code = authorize(api, visitor, **changes)["code"]
    fields = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
    tokens: Tokens = post(api, "/token", **fields).json()
    return tokens


def refresh(api: OidcProvider, tokens: Tokens) -> requests.Response:
    return post(api, "/token", grant_type="refresh_token", refresh_token=tokens["refresh_token"])


def is_refused(answer: requests.Response) -> bool:
    return (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


def get(api: OidcProvider, tokens: Tokens, path: str = "/protected-route") -> requests.Response:
    return requests.get(api.url + path, headers={"Authorization": f"Bearer {tokens['access_token']}"})


def test_a_sign_in_yields_tokens_for_the_api(api: OidcProvider) -> None:
    tokens = sign_in(api)
    key = jwt.PyJWKClient(f"{api.issuer}/jwks").get_signing_key_from_jwt(tokens["id_token"])
    claims = jwt.decode(tokens["id_token"], key, algorithms=["ES256"], audience=CLIENT_ID, issuer=api.issuer)

    assert (claims["sub"], claims["nonce"]) == ("user-ada", "the-nonce")
    assert get(api, tokens, "/me").json() == {"sub": "user-ada", "name": "Ada", "email": ADA}
    assert (tokens["expires_in"], get(api, tokens).json()) == (60, {"data": list(ROWS)})


def test_who_declines_or_has_a_wrong_password_gets_no_code(api: OidcProvider) -> None:
    assert authorize(api, Visitor(consents=False))["error"] == "access_denied"
    assert "code" in authorize(api, prompt="consent")
    with pytest.raises(AssertionError, match="goes on asking at /interaction/"):
        authorize(api, Visitor(password="wrong"))


def test_tokens_rotate_and_a_second_use_ends_them_all(api: OidcProvider) -> None:
    spends, reuses = api.refresh_spends.total(), api.reuses
    tokens = sign_in(api)
    api.expire_access_tokens()
    refused = get(api, tokens)
    renewed = refresh(api, tokens).json()

    assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, 'Bearer error="invalid_token"')
    assert get(api, renewed).status_code == 200
    assert renewed["id_token"]
    assert is_refused(refresh(api, tokens))
    assert is_refused(refresh(api, renewed))
    assert get(api, renewed).status_code == 401
    assert (api.refresh_spends.total() - spends, api.reuses - reuses) == (1, 1)


def test_tokens_can_be_revoked_by_the_site_and_by_staff(api: OidcProvider) -> None:
    first, second, third = (sign_in(api) for _ in range(3))

    assert post(api, "/token/revocation", token=first["refresh_token"]).status_code == 200
    api.revoke_refresh_token(second["refresh_token"])
    assert all(is_refused(refresh(api, tokens)) for tokens in (first, second))
    assert get(api, third).status_code == 200
    api.revoke_all()
    assert is_refused(refresh(api, third))


def test_a_request_can_be_pushed_once_and_has_to_be_where_that_is_required(api: OidcProvider) -> None:
    pushed = post(api, "/request", **request_parameters())
    uri = pushed.json()["request_uri"]
    target = f"{api.issuer}/auth?{urlencode({'client_id': CLIENT_ID, 'request_uri': uri})}"

    assert (pushed.status_code, pushed.json()["expires_in"]) == (201, 60)
    assert "code=" in Visitor().follow(target)
    api.set_client(require_pushed_authorization_requests=True)
    try:
        assert "error" in authorize(api)
    finally:
        api.set_client(require_pushed_authorization_requests=False)


def test_the_api_can_ask_for_a_fresh_sign_in_or_another_kind(api: OidcProvider) -> None:
    visitor = Visitor()
    tokens = sign_in(api, visitor)
    stepped_up = sign_in(api, visitor, acr_values="second-factor")
    api.forget_calls()
    sign_in(api, visitor, prompt="login")

    assert api.calls[1].path.startswith("/interaction/"), "the provider asks again"
    refused = get(api, tokens, "/fresh-route?acr_values=second-factor")
    expected = 'Bearer error="insufficient_user_authentication", acr_values="second-factor"'
    assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, expected)
    assert get(api, stepped_up, "/fresh-route?acr_values=second-factor&max_age=3600").status_code == 200
    assert get(api, stepped_up, "/fresh-route?max_age=-1").status_code == 401


def test_signing_out_and_ending_sessions_reach_the_site(api: OidcProvider) -> None:
    class Receiver(BaseHTTPRequestHandler):
        bodies: ClassVar[list[str]] = []

        def do_POST(self) -> None:
            self.bodies.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    visitor = Visitor()
    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        api.register_back_channel_logout(f"http://127.0.0.1:{server.server_port}")
        tokens = sign_in(api, visitor)
        grace = sign_in(api, Visitor("grace@example.com"))
        results = api.end_sessions("grace@example.com")
        hint = {"id_token_hint": tokens["id_token"], "post_logout_redirect_uri": f"{SITE}/"}
        back = visitor.follow(f"{api.issuer}/session/end?{urlencode(hint)}")
        server.shutdown()

    logout_tokens = [
        jwt.decode(body.partition("=")[2], options={"verify_signature": False}) for body in Receiver.bodies
    ]
    assert (results, back) == ([""], f"{SITE}/")
    assert [token["sub"] for token in logout_tokens] == ["user-grace", "user-ada"]
    sids = [jwt.decode(pair["id_token"], options={"verify_signature": False})["sid"] for pair in (grace, tokens)]
    assert [token["sid"] for token in logout_tokens] == sids
    assert is_refused(refresh(api, grace))
