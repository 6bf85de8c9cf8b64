"""oidc-provider and its API with DPoP (RFC 9449): who has stolen a token has nothing without its key."""

import hashlib
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from tests.demo_api.readings import ROWS
from tests.real_apis.oauth.client import CLIENT_ID, CLIENT_SECRET
from tests.real_apis.oidc import OidcProvider
from tests.real_apis.test_oidc_provider import CALLBACK, SITE, VERIFIER, authorize

ROUTE = "/protected-route"


@pytest.fixture(scope="module")
def api() -> Iterator[OidcProvider]:
    with OidcProvider(dpop=True, dpop_nonces=True) as api:
        api.register_site(SITE)
        yield api


class Key:
    """A key of the client, and the nonces that the servers have sent."""

    def __init__(self, api: OidcProvider) -> None:
        self.api = api
        self.nonces: dict[str, str] = {}
        self._private = ec.generate_private_key(ec.SECP256R1())

    def prove(self, method: str, path: str, **changes: Any) -> str:
        claims = {"htm": method, "htu": self.api.url + path, "iat": int(time.time()), "jti": secrets.token_urlsafe()}
        jwk = ECAlgorithm.to_jwk(self._private.public_key(), as_dict=True)
        headers = {"typ": "dpop+jwt", "jwk": jwk}
        return jwt.encode({**claims, **changes}, self._private, algorithm="ES256", headers=headers)

    def post(self, **fields: str) -> requests.Response:
        """Post to the token endpoint, and once more if it wants a nonce."""
        nonce = {"nonce": self.nonces["/token"]} if "/token" in self.nonces else {}
        headers = {"DPoP": self.prove("POST", "/token", **nonce)}
        answer = requests.post(f"{self.api.url}/token", fields, auth=(CLIENT_ID, CLIENT_SECRET), headers=headers)
        if answer.json().get("error") == "use_dpop_nonce":
            self.nonces["/token"] = answer.headers["DPoP-Nonce"]
            return self.post(**fields)
        return answer

    def get(self, token: str, scheme: str = "DPoP", proof: str = "", **changes: Any) -> requests.Response:
        ath = urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).decode().rstrip("=")
        proof = proof or self.prove("GET", ROUTE, **{"ath": ath, "nonce": self.nonces.get(ROUTE, ""), **changes})
        answer = requests.get(self.api.url + ROUTE, headers={"Authorization": f"{scheme} {token}", "DPoP": proof})
        self.nonces[ROUTE] = answer.headers["DPoP-Nonce"]
        return answer


def redeem(api: OidcProvider, key: Key) -> dict[str, Any]:
    code = authorize(api)["code"]
    fields = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
    tokens: dict[str, Any] = key.post(**fields).json()
    return tokens


def refusal(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.headers["WWW-Authenticate"]


def test_a_token_is_of_use_with_its_key_alone(api: OidcProvider) -> None:
    key = Key(api)
    tokens = redeem(api, key)
    token = tokens["access_token"]

    assert (tokens["token_type"], bool(key.nonces["/token"])) == ("DPoP", True)
    assert refusal(key.get(token)) == (401, 'DPoP error="use_dpop_nonce"')
    assert key.get(token).json() == {"data": list(ROWS)}
    assert refusal(key.get(token, scheme="Bearer")) == (401, 'Bearer error="invalid_token"')
    wrong: list[dict[str, Any]] = [
        {"ath": "x"},
        {"htm": "POST"},
        {"htu": f"{api.url}/other"},
        {"iat": 1},
        {"jti": None},
    ]
    answers = [key.get(token, **change) for change in wrong]
    thief = Key(api)
    thief.nonces.update(key.nonces)
    for answer in (*answers, thief.get(token), key.get(token, proof="nonsense")):
        assert refusal(answer) == (401, 'DPoP error="invalid_dpop_proof"')


def test_a_proof_counts_once_and_a_nonce_until_the_next_one(api: OidcProvider) -> None:
    key = Key(api)
    token = redeem(api, key)["access_token"]
    key.get(token)
    ath = urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).decode().rstrip("=")
    proof = key.prove("GET", ROUTE, ath=ath, nonce=key.nonces[ROUTE])

    assert [key.get(token, proof=proof).status_code for _ in range(2)] == [200, 401]
    api.change_api_nonce()
    assert refusal(key.get(token)) == (401, 'DPoP error="use_dpop_nonce"')
    assert key.get(token).status_code == 200


def test_a_confidential_client_can_take_another_key_at_a_refresh(api: OidcProvider) -> None:
    key, next_key = Key(api), Key(api)
    tokens = redeem(api, key)
    renewed = next_key.post(grant_type="refresh_token", refresh_token=tokens["refresh_token"]).json()["access_token"]

    next_key.get(renewed)
    key.nonces.update(next_key.nonces)
    assert next_key.get(renewed).status_code == 200
    assert refusal(key.get(renewed)) == (401, 'DPoP error="invalid_dpop_proof"')


def test_without_a_proof_there_are_no_tokens(api: OidcProvider) -> None:
    fields = {"grant_type": "authorization_code", "code": authorize(api)["code"], "redirect_uri": CALLBACK}
    bare = requests.post(f"{api.url}/token", {**fields, "code_verifier": VERIFIER}, auth=(CLIENT_ID, CLIENT_SECRET))

    assert (bare.status_code, bare.json()["error"]) == (400, "invalid_grant")
