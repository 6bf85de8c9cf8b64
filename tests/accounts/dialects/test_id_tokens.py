"""The checks of ID tokens (OpenID Connect Core 3.1.3.7)."""

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from jwt.algorithms import ECAlgorithm, OKPAlgorithm
from pytest_django import Settings

from accounts.models import SessionRecord
from tests.accounts.at_provider import FAILED, begin, press_button, query_of, shown, whoami
from tests.accounts.odd_provider import (
    CLIENT_ID,
    CLIENT_SECRET,
    TOKEN,
    Claims,
    OddProvider,
    published,
    signed,
    signing_key,
)
from tests.browsers import Answer, Browser, cookies_set

LEEWAY_SECONDS = 300


def sign_in(provider: OddProvider, browser: Browser) -> Answer:
    return browser.get(provider.come_back(begin(browser)))


def expect_refused(provider: OddProvider, browser: Browser) -> None:
    """The sign-in fails with a page that says so."""
    answer = sign_in(provider, browser)

    assert provider.count("POST", TOKEN) == 1, "the code was not exchanged"
    assert answer.status_code == 502
    assert FAILED in shown(answer)
    assert "session" not in cookies_set(answer)
    assert not SessionRecord.objects.exists()


def from_now(seconds: float) -> int:
    return int(time.time() + seconds)


GOOD_CLAIMS: dict[str, Callable[[], Claims]] = {
    "as they usually are": dict,
    "an audience in a list": lambda: {"aud": [CLIENT_ID]},
    "several audiences, made for us": lambda: {"aud": ["https://api.example.com", CLIENT_ID], "azp": CLIENT_ID},
    "made for us": lambda: {"azp": CLIENT_ID},
    "expired within the leeway": lambda: {"exp": from_now(30 - LEEWAY_SECONDS)},
    "from a clock that is ahead": lambda: {"iat": from_now(LEEWAY_SECONDS - 30), "exp": from_now(3600)},
    "from long ago, for long": lambda: {"iat": from_now(-86400), "exp": from_now(86400)},
    "times with fractions": lambda: {"iat": time.time(), "exp": time.time() + 300.5},
    "a `nbf` of now": lambda: {"nbf": from_now(0)},
    "claims of their own": lambda: {"realm_access": {"roles": ["harbour-master"]}, "amr": ["pwd"]},
}
BAD_CLAIMS: dict[str, Callable[[], dict[str, Any]]] = {
    "no issuer": lambda: {"iss": None},
    "another issuer": lambda: {"iss": "https://evil.example"},
    "an issuer with a slash too many": lambda: {"iss": "{issuer}/"},
    "a list of issuers": lambda: {"iss": ["{issuer}"]},
    "no audience": lambda: {"aud": None},
    "another audience": lambda: {"aud": "another-site"},
    "audiences without us": lambda: {"aud": ["another-site", "https://api.example.com"]},
    "an empty list of audiences": lambda: {"aud": []},
    "an audience that begins like us": lambda: {"aud": CLIENT_ID + "-2"},
    "an audience that is no text": lambda: {"aud": {CLIENT_ID: True}},
    "made for another": lambda: {"aud": [CLIENT_ID, "another-site"], "azp": "another-site"},
    "no expiry": lambda: {"exp": None},
    "expired": lambda: {"exp": from_now(-LEEWAY_SECONDS - 30)},
    "expires beyond all times": lambda: {"exp": float("inf")},
    "expires in words": lambda: {"exp": "tomorrow"},
    "no time": lambda: {"iat": None},
    "from the future": lambda: {"iat": from_now(LEEWAY_SECONDS + 60), "exp": from_now(3600)},
    "from nowhere": lambda: {"iat": []},
    "not valid yet": lambda: {"nbf": from_now(LEEWAY_SECONDS + 60)},
    "nobody": lambda: {"sub": None},
    "an empty name for somebody": lambda: {"sub": "", "name": None},
    "a number for somebody": lambda: {"sub": 7},
    "no nonce": lambda: {"nonce": None},
    "an empty nonce": lambda: {"nonce": ""},
    "another nonce": lambda: {"nonce": "n-0S6_WzA2Mj"},
    "a nonce that is no text": lambda: {"nonce": 5},
    "a nonce that is not ASCII": lambda: {"nonce": "ä" * 22},
}


@pytest.mark.parametrize("claims", GOOD_CLAIMS.values(), ids=GOOD_CLAIMS)
def test_good_claims(odd_provider: OddProvider, newcomer: Browser, claims: Callable[[], Claims]) -> None:
    odd_provider.claims = claims()

    assert sign_in(odd_provider, newcomer).status_code == 302

    assert whoami(newcomer) == "Ada"


@pytest.mark.parametrize("claims", BAD_CLAIMS.values(), ids=BAD_CLAIMS)
def test_bad_claims(odd_provider: OddProvider, newcomer: Browser, claims: Callable[[], Claims]) -> None:
    text = json.dumps(claims()).replace("{issuer}", odd_provider.issuer)
    if claims() == {"iss": ["{issuer}"]}:
        # PyJWT refuses to sign that; other libraries do not.
        odd_provider.sign = lambda claims: resigned({**claims, "iss": [odd_provider.issuer]})
    else:
        odd_provider.claims = json.loads(text)

    expect_refused(odd_provider, newcomer)


def test_the_nonce_of_another_sign_in_of_the_same_browser(odd_provider: OddProvider, newcomer: Browser) -> None:
    """An attacker injects a code that was issued to them."""
    first, second = begin(newcomer), begin(newcomer)
    back = odd_provider.come_back(first)
    swapped = query_of(back)["state"], query_of(second)["state"]

    answer = newcomer.get(back.replace(*swapped))

    assert answer.status_code == 502
    assert not SessionRecord.objects.exists()


def resigned(claims: Claims) -> str:
    """Sign without PyJWT's checks of the claims."""
    header = base64.urlsafe_b64encode(json.dumps({"alg": "RS256", "kid": "one"}).encode()).rstrip(b"=")
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=")
    signature = jwt.get_algorithm_by_name("RS256").sign(header + b"." + payload, signing_key("one"))
    return b".".join([header, payload, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


def unsigned(claims: Claims) -> str:
    return jwt.encode(claims, "", algorithm="none", headers={"kid": "one"})


def with_the_clients_secret(claims: Claims) -> str:
    """If this were accepted, the client secret could forge a sign-in of any user."""
    return jwt.encode(claims, CLIENT_SECRET, algorithm="HS256", headers={"kid": "one"})


def with_the_public_key_as_a_secret(claims: Claims) -> str:
    key = base64.urlsafe_b64decode(published("one")["n"] + "==")
    return jwt.encode(claims, key, algorithm="HS256", headers={"kid": "one"})


def changed(claims: Claims) -> str:
    header, _, signature = signed(claims).split(".")
    payload = base64.urlsafe_b64encode(json.dumps({**claims, "sub": "grace-1"}).encode()).rstrip(b"=").decode()
    return f"{header}.{payload}.{signature}"


def nested(claims: Claims) -> str:
    header = base64.urlsafe_b64encode(b'{"alg":' + b"[" * 20_000).decode().rstrip("=")
    return f"{header}.{header}.{header}"


FORGED: dict[str, Callable[[Claims], str]] = {
    "not signed": unsigned,
    "signed with the client's secret": with_the_clients_secret,
    "signed with the public key as a secret": with_the_public_key_as_a_secret,
    "signed by another provider": lambda claims: signed(claims, "two"),
    "signed by another under a name of the provider's": lambda claims: signed(claims, "two", kid="one"),
    "signed by another that brings its key along": lambda claims: signed(claims, "two", jwk=published("two")),
    "signed by another whose keys are elsewhere": lambda claims: signed(claims, "two", jku="https://evil.example/keys"),
    "changed": changed,
    "without its signature": lambda claims: signed(claims).rpartition(".")[0] + ".",
    "cut off": lambda claims: signed(claims)[:-40],
    "no JWT": lambda claims: "an-opaque-token",
    "three dots": lambda claims: "...",
    "nested beyond measure": nested,
    "empty": lambda claims: "",
}


@pytest.mark.parametrize("sign", FORGED.values(), ids=FORGED)
def test_forged(odd_provider: OddProvider, newcomer: Browser, sign: Callable[[Claims], str]) -> None:
    odd_provider.sign = sign

    expect_refused(odd_provider, newcomer)


@pytest.mark.parametrize("id_token", [None, 5, True, ["eyJ"], {"jwt": "eyJ"}], ids=str)
def test_what_is_no_token_though_openid_was_asked_for(
    odd_provider: OddProvider, newcomer: Browser, id_token: object
) -> None:
    odd_provider.tokens = {"id_token": id_token}

    expect_refused(odd_provider, newcomer)


@pytest.mark.parametrize("algorithm", ["RS512", "PS256", "ES256", "ES384", "EdDSA", "Ed25519"])
def test_every_algorithm_with_a_public_key(odd_provider: OddProvider, newcomer: Browser, algorithm: str) -> None:
    key: Any
    if algorithm.startswith("ES"):
        key = ec.generate_private_key(ec.SECP256R1() if algorithm == "ES256" else ec.SECP384R1())
        public = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    elif algorithm in ("EdDSA", "Ed25519"):
        key = ed25519.Ed25519PrivateKey.generate()
        public = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        key, public = signing_key("one"), published("one", alg=None)
    encoder = jwt.PyJWS()
    encoder.register_algorithm("Ed25519", OKPAlgorithm())  # RFC 9864, not yet in PyJWT
    odd_provider.keys = [{**public, "kid": "k"}]
    odd_provider.sign = lambda claims: encoder.encode(json.dumps(claims).encode(), key, algorithm, {"kid": "k"})

    assert sign_in(odd_provider, newcomer).status_code == 302
    assert whoami(newcomer) == "Ada"


class TestWithoutOpenId:
    def test_plain_oauth_signs_in_without_an_id_token(
        self, odd_provider: OddProvider, newcomer: Browser, settings: Settings
    ) -> None:
        settings.OAUTH_SCOPE = "read"
        access = jwt.encode({"sub": "ada-1", "preferred_username": "ada"}, "k" * 32, algorithm="HS256")
        odd_provider.tokens = {"id_token": None, "access_token": access}

        assert sign_in(odd_provider, newcomer).status_code == 302

        assert newcomer.get("/accounts/session/").json()["user"] == {"id": "ada-1", "name": "ada", "email": ""}
        assert newcomer.is_signed_in()
        assert "session-id-token" not in newcomer.take()

    def test_one_that_nobody_asked_for_is_not_believed_unchecked(
        self, odd_provider: OddProvider, newcomer: Browser, settings: Settings
    ) -> None:
        settings.OAUTH_SCOPE = "read"
        odd_provider.sign = unsigned

        sign_in(odd_provider, newcomer)

        assert whoami(newcomer) != "Ada"

    def test_the_button_works_as_before(self, odd_provider: OddProvider, newcomer: Browser, settings: Settings) -> None:
        settings.OAUTH_SCOPE = ""

        assert press_button(newcomer).status_code == 302
