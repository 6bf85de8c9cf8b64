"""The provider behaves as the rest of the tests take it to behave; its pages are walked over plain HTTP."""

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import jwt
import pytest
import requests

from tests.demo_api.readings import ROWS
from tests.real_apis.apis import OAuthProvider
from tests.real_apis.oauth.client import CLIENT_ID, CLIENT_SECRET, SCOPE
from tests.real_apis.visitor import Visitor

SITE = "http://127.0.0.1:9"
CALLBACK = f"{SITE}/accounts/callback/"
VERIFIER = "a-code-verifier-of-at-least-forty-three-characters"
Tokens = dict[str, Any]


@pytest.fixture(scope="module")
def shared_api() -> Iterator[OAuthProvider]:
    with OAuthProvider() as api:
        api.register_site(SITE)
        yield api


@pytest.fixture
def api(shared_api: OAuthProvider) -> OAuthProvider:
    shared_api.forget_calls()
    return shared_api


def discover(api: OAuthProvider) -> dict[str, Any]:
    document: dict[str, Any] = requests.get(f"{api.issuer}/.well-known/openid-configuration").json()
    return document


def authorization_url(api: OAuthProvider, **changes: str) -> str:
    challenge = urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
    parameters = {
        "response_type": "code",
        "client_id": CLIENT_ID,
        "redirect_uri": CALLBACK,
        "scope": SCOPE,
        "state": "the-state",
        "nonce": "the-nonce",
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    asked = {name: value for name, value in {**parameters, **changes}.items() if value}
    return f"{discover(api)['authorization_endpoint']}?{urlencode(asked)}"


def authorize(api: OAuthProvider, visitor: Visitor | None = None) -> dict[str, str]:
    """What the provider sends the visitor back to the site with."""
    back = (visitor or Visitor()).follow(authorization_url(api))
    assert back.partition("?")[0] == CALLBACK
    return dict(parse_qsl(urlsplit(back).query))


def post(url: str, **fields: str) -> requests.Response:
    return requests.post(url, data=fields, auth=(CLIENT_ID, CLIENT_SECRET))


def redeem(api: OAuthProvider, code: str, verifier: str = VERIFIER) -> requests.Response:
    url = discover(api)["token_endpoint"]
    return post(url, grant_type="authorization_code", code=code, redirect_uri=CALLBACK, code_verifier=verifier)


def sign_in(api: OAuthProvider, visitor: Visitor | None = None) -> Tokens:
    answer = redeem(api, authorize(api, visitor)["code"])
    assert answer.status_code == 200
    tokens: Tokens = answer.json()
    return tokens


def refresh(api: OAuthProvider, tokens: Tokens) -> requests.Response:
    return post(f"{api.issuer}/token/", grant_type="refresh_token", refresh_token=tokens["refresh_token"])


def is_refused(answer: requests.Response) -> bool:
    return (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


def get(api: OAuthProvider, tokens: Tokens) -> requests.Response:
    return requests.get(f"{api.url}/protected-route", headers={"Authorization": f"Bearer {tokens['access_token']}"})


def verify(api: OAuthProvider, tokens: Tokens) -> dict[str, Any]:
    """The claims of the ID token, checked by the keys that are published now. Raises jwt.PyJWTError."""
    key = jwt.PyJWKClient(discover(api)["jwks_uri"]).get_signing_key_from_jwt(tokens["id_token"])
    return jwt.decode(tokens["id_token"], key, algorithms=["RS256"], audience=CLIENT_ID, issuer=api.issuer)


class TestSigningIn:
    def test_the_discovery_document_carries_the_address_that_everybody_is_told(self, api: OAuthProvider) -> None:
        document = discover(api)

        assert document["issuer"] == api.issuer
        urls = [value for name, value in document.items() if name.endswith(("_endpoint", "_uri"))]
        assert len(urls) >= 4
        assert all(url.startswith(f"{api.issuer}/") for url in urls)
        assert document["authorization_response_iss_parameter_supported"] is True

    def test_a_code_is_traded_for_tokens_that_say_who_it_is(self, api: OAuthProvider) -> None:
        back = authorize(api)
        tokens = redeem(api, back["code"]).json()

        assert (back["state"], back["iss"]) == ("the-state", api.issuer)
        claims = verify(api, tokens)
        assert (claims["name"], claims["email"], claims["nonce"]) == ("Ada", "ada@example.com", "the-nonce")
        assert get(api, tokens).json() == {"data": list(ROWS)}
        assert (tokens["expires_in"], set(tokens["scope"].split())) == (60, set(SCOPE.split()))

    def test_the_proof_of_the_code_is_demanded_and_checked(self, api: OAuthProvider) -> None:
        without = Visitor().follow(authorization_url(api, code_challenge="", code_challenge_method=""))

        assert dict(parse_qsl(urlsplit(without).query))["error"] == "invalid_request"
        assert is_refused(redeem(api, authorize(api)["code"], verifier="x" * 43))

    def test_an_address_that_nobody_registered_gets_no_code(self, api: OAuthProvider) -> None:
        with pytest.raises(AssertionError, match="answers 400"):
            Visitor().follow(authorization_url(api, redirect_uri="http://127.0.0.1:9/elsewhere/"))

        api.register_redirects(["http://127.0.0.1:9/elsewhere/"], [])
        assert "code=" in Visitor().follow(authorization_url(api, redirect_uri="http://127.0.0.1:9/elsewhere/"))
        assert "code" in authorize(api)

    def test_who_is_signed_in_at_the_provider_is_only_asked_for_consent(self, api: OAuthProvider) -> None:
        visitor = Visitor()
        authorize(api, visitor)
        assert (api.count("POST", "/login/"), api.count("POST", "/o/authorize/")) == (1, 1)

        authorize(api, visitor)

        assert (api.count("POST", "/login/"), api.count("POST", "/o/authorize/")) == (1, 2)

    def test_who_declines_is_sent_back_with_the_error(self, api: OAuthProvider) -> None:
        assert authorize(api, Visitor(consents=False))["error"] == "access_denied"

    def test_a_wrong_password_leads_nowhere(self, api: OAuthProvider) -> None:
        with pytest.raises(AssertionError, match="goes on asking at /login/"):
            authorize(api, Visitor(password="wrong"))

    def test_consent_can_be_left_out(self) -> None:
        with OAuthProvider(consent=False) as api:
            api.register_site(SITE)

            assert get(api, sign_in(api)).status_code == 200
            assert api.count("POST", "/o/authorize/") == 0


class TestRefreshing:
    def test_it_yields_a_new_pair_and_an_id_token(self, api: OAuthProvider) -> None:
        tokens = sign_in(api)
        api.expire_access_tokens()
        refused = get(api, tokens)

        renewed = refresh(api, tokens).json()

        assert (refused.status_code, refused.headers["WWW-Authenticate"].partition(" ")[0]) == (401, "Bearer")
        assert get(api, renewed).status_code == 200
        assert renewed["refresh_token"] != tokens["refresh_token"]
        assert verify(api, renewed)["email"] == "ada@example.com"
        assert api.count_refreshes() == api.count_refreshes(200) == 1

    def test_a_second_use_ends_the_family(self, api: OAuthProvider) -> None:
        spends, reuses = api.refresh_spends.total(), api.reuses
        tokens = sign_in(api)
        renewed = refresh(api, tokens).json()

        assert is_refused(refresh(api, tokens))
        assert is_refused(refresh(api, renewed))
        assert get(api, renewed).status_code == 401
        assert (api.refresh_spends.total() - spends, api.reuses - reuses) == (1, 1)

    def test_within_the_grace_a_second_use_yields_the_same_pair(self) -> None:
        with OAuthProvider(grace_seconds=600) as api:
            api.register_site(SITE)
            tokens = sign_in(api)

            pairs = [refresh(api, tokens).json() for _ in range(2)]

            assert pairs[0]["refresh_token"] == pairs[1]["refresh_token"]
            assert (list(api.refresh_spends.values()), api.reuses) == ([2], 0)

    def test_life_and_grace_can_change_while_it_runs(self) -> None:
        with OAuthProvider() as api:
            api.register_site(SITE)
            tokens = sign_in(api)
            api.set_access_ttl(7)
            api.set_grace(600)

            pairs = [refresh(api, tokens).json() for _ in range(2)]
            api.set_grace(0)

            assert [pair["expires_in"] for pair in pairs] == [7, 7]
            assert pairs[0]["refresh_token"] == pairs[1]["refresh_token"]
            assert is_refused(refresh(api, tokens))

    def test_many_at_once_are_all_answered(self, api: OAuthProvider) -> None:
        sign_ins = [sign_in(api) for _ in range(5)]
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda number: refresh(api, sign_ins[number % 5]), range(20)))

        assert {answer.status_code for answer in answers} <= {200, 400}
        assert api.count_refreshes(200) >= 5


class TestEnding:
    def test_the_site_can_revoke_a_refresh_token(self, api: OAuthProvider) -> None:
        tokens = sign_in(api)
        url = api.site_environment["OAUTH_REVOCATION_ENDPOINT"]

        assert post(url, token=tokens["refresh_token"]).status_code == 200
        assert is_refused(refresh(api, tokens))

    def test_staff_can_revoke_one_sign_in_or_all(self, api: OAuthProvider) -> None:
        first, second, third = (sign_in(api) for _ in range(3))

        api.revoke_refresh_token(first["refresh_token"])
        assert is_refused(refresh(api, first))
        second = refresh(api, second).json()

        api.revoke_all()
        assert [get(api, tokens).status_code for tokens in (first, second, third)] == [401] * 3
        assert all(is_refused(refresh(api, tokens)) for tokens in (second, third))
        assert get(api, sign_in(api)).status_code == 200

    def test_who_signs_out_at_the_provider_is_sent_to_the_site_and_has_to_sign_in_again(
        self, api: OAuthProvider
    ) -> None:
        visitor = Visitor()
        sign_in(api, visitor)
        parameters = {"client_id": CLIENT_ID, "post_logout_redirect_uri": f"{SITE}/"}

        back = visitor.follow(f"{discover(api)['end_session_endpoint']}?{urlencode(parameters)}")

        assert back == f"{SITE}/"
        assert api.count("POST", "/o/logout/") == 1, "without an ID token it asks"
        api.forget_calls()
        authorize(api, visitor)
        assert api.count("POST", "/login/") == 1


class TestSigningKeys:
    def test_a_new_key_signs_and_the_old_one_is_still_published(self, api: OAuthProvider) -> None:
        before = sign_in(api)
        api.rotate_signing_key(keep_old=True)
        after = sign_in(api)

        kids = [jwt.get_unverified_header(tokens["id_token"])["kid"] for tokens in (before, after)]
        assert kids[0] != kids[1]
        assert verify(api, before)["nonce"] == verify(api, after)["nonce"] == "the-nonce"

    def test_an_old_key_can_be_gone_at_once(self, api: OAuthProvider) -> None:
        before = sign_in(api)
        api.rotate_signing_key(keep_old=False)

        assert verify(api, sign_in(api))
        with pytest.raises(jwt.PyJWKClientError, match="Unable to find a signing key"):
            verify(api, before)
