"""Client authentication with a JWT (RFC 7523, OpenID Connect Core section 9), and the keys at /accounts/jwks.json."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from jwcrypto.jwk import JWK
from jwcrypto.jws import JWS
from pytest_django import Settings

from accounts.dialects.client_authentication import PrivateKey, UnusableKey, client_keys
from accounts.dialects.oauth2 import OAuth2Dialect
from tests.accounts.at_provider import begin, sign_in_at_provider, without_nonce_requests
from tests.accounts.dialects.test_client_authentication import calls_as_a_client
from tests.accounts.odd_provider import CLIENT_ID, TOKEN, OddProvider, signing_key
from tests.browsers import Browser
from tests.demo_api.messages import Call
from tests.demo_api.server import Fault
from tests.real_apis.oidc import OidcProvider

JWKS = "/accounts/jwks.json"
TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ALGORITHMS = "token_endpoint_auth_signing_alg_values_supported"


class Repeating(OAuth2Dialect):
    replay_is_safe = True


class OlderProvider(OAuth2Dialect):
    def assertion_audience(self, url: str) -> str:
        return url


def pem(key: PrivateKey, format: PrivateFormat = PrivateFormat.PKCS8) -> str:
    return key.private_bytes(Encoding.PEM, format, NoEncryption()).decode()


EC_KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_KEY = ed25519.Ed25519PrivateKey.generate()


def use_key(settings: Settings, text: str, *, secret: str = "") -> None:
    settings.OAUTH_CLIENT_KEY, settings.OAUTH_CLIENT_SECRET = text, secret


def form_of(call: Call) -> dict[str, str]:
    return dict(parse_qsl(call.body.decode(), strict_parsing=True))


def assertion_of(call: Call) -> str:
    form = form_of(call)
    assert form["client_assertion_type"] == TYPE
    assert (form["client_id"], "client_secret" in form, "authorization" in call.headers) == (CLIENT_ID, False, False)
    return form["client_assertion"]


def published_keys(browser: Browser) -> list[dict[str, Any]]:
    answer = browser.get(JWKS)
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/json")
    keys: list[dict[str, Any]] = answer.json()["keys"]
    return keys


def verify(assertion: str, browser: Browser, algorithm: str, *, aud: str) -> dict[str, Any]:
    """The claims, checked with another library and the key that the site publishes."""
    header = jwt.get_unverified_header(assertion)
    assert header["typ"] == "client-authentication+jwt"
    [key] = [key for key in published_keys(browser) if key["kid"] == header["kid"]]
    signed = JWS()
    signed.allowed_algs = [algorithm]
    signed.deserialize(assertion, JWK(**key))
    claims: dict[str, Any] = json.loads(signed.payload)
    assert (claims["iss"], claims["sub"], claims["aud"]) == (CLIENT_ID, CLIENT_ID, aud)
    return claims


def test_a_provider_that_takes_nothing_else(strict_provider: OidcProvider, newcomer: Browser) -> None:
    sign_in_at_provider(newcomer)
    strict_provider.expire_access_tokens()
    assert newcomer.is_signed_in()
    newcomer.sign_out()

    authenticated = [
        call for call in strict_provider.calls if call.method == "POST" and b"client_assertion" in call.body
    ]
    assert [(call.path, call.status) for call in without_nonce_requests(authenticated)] == [
        ("/request", 201),
        ("/token", 200),
        ("/token", 200),
        ("/token/revocation", 200),
    ]
    claims = [verify(assertion_of(call), newcomer, "ES256", aud=strict_provider.issuer) for call in authenticated]
    assert len({claim["jti"] for claim in claims}) == len(authenticated)
    assert {claim["exp"] - claim["iat"] for claim in claims} == {60}


@pytest.mark.parametrize(
    ("key", "offered", "algorithm"),
    [
        (signing_key("one"), None, "RS256"),
        (signing_key("one"), ["RS256", "PS256", "ES256"], "PS256"),
        (signing_key("one"), ["RS384"], "RS384"),
        (signing_key("one"), ["ES256"], "RS256"),
        (EC_KEY, None, "ES256"),
        (ec.generate_private_key(ec.SECP384R1()), "ES384", "ES384"),
        (ec.generate_private_key(ec.SECP521R1()), ["RS256"], "ES512"),
        (OTHER_KEY, ["EdDSA", "Ed25519"], "EdDSA"),
        (ed448.Ed448PrivateKey.generate(), None, "EdDSA"),
    ],
    ids=lambda value: getattr(value, "__class__", type).__name__ if hasattr(value, "public_key") else str(value),
)
def test_the_algorithm_follows_from_the_key_and_from_what_the_provider_takes(
    odd_provider: OddProvider,
    newcomer: Browser,
    settings: Settings,
    key: PrivateKey,
    offered: object,
    algorithm: str,
) -> None:
    use_key(settings, pem(key))
    odd_provider.metadata = {ALGORITHMS: offered}

    for call in calls_as_a_client(odd_provider, newcomer):
        verify(assertion_of(call), newcomer, algorithm, aud=odd_provider.issuer)


def test_a_provider_that_only_knows_the_new_name(
    odd_provider: OddProvider, newcomer: Browser, settings: Settings
) -> None:
    """RFC 9864. jwcrypto does not know it."""
    use_key(settings, pem(OTHER_KEY))
    odd_provider.metadata = {ALGORITHMS: ["Ed25519"]}

    call, *_ = calls_as_a_client(odd_provider, newcomer)
    header, claims, signature = assertion_of(call).split(".")
    OTHER_KEY.public_key().verify(jwt.utils.base64url_decode(signature), f"{header}.{claims}".encode())
    assert jwt.get_unverified_header(assertion_of(call))["alg"] == "Ed25519"


def test_the_first_key_signs_and_all_are_published(newcomer: Browser, settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "keys.pem"
    file.write_text(f"Two keys\n{pem(OTHER_KEY)}\n{pem(EC_KEY, PrivateFormat.TraditionalOpenSSL)}")
    expected = [JWK.from_pem(pem(key).encode()) for key in (OTHER_KEY, EC_KEY)]

    for text in (str(file), file.read_text(), file.read_text().replace("\n", "\\n")):
        use_key(settings, text)
        keys = published_keys(newcomer)
        assert [key["kid"] for key in keys] == [key.thumbprint() for key in expected]
        assert [key.kid for key in client_keys()] == [key["kid"] for key in keys]
        assert [JWK(**key).export_public(as_dict=True)["x"] for key in keys] == [
            key.export_public(as_dict=True)["x"] for key in expected
        ]
        assert not {"d", "p", "q", "k"} & {name for key in keys for name in key}


def test_the_keys_can_be_cached_and_need_no_session(newcomer: Browser, settings: Settings) -> None:
    use_key(settings, pem(EC_KEY))
    answer = newcomer.get(JWKS)

    assert (answer["Cache-Control"], newcomer.post(JWKS).status_code) == ("public, max-age=600", 405)
    assert not answer.cookies
    assert "Cookie" not in answer.get("Vary", "")
    for text in ("", "/no/such/file", "-----BEGIN NOTHING-----"):
        use_key(settings, text)
        assert newcomer.get(JWKS).status_code == 404


UNUSABLE: dict[str, str] = {
    "no key": "s3cret",
    "a public key": EC_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
    "too small": pem(rsa.generate_private_key(65537, 1024)),  # noqa: S505  # that is the point
    "another curve": pem(ec.generate_private_key(ec.SECP256K1())),
    "encrypted": EC_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"s3cret")).decode(),
    "damaged": pem(EC_KEY).replace("M", "N"),
    "the second one": pem(EC_KEY) + pem(ec.generate_private_key(ec.SECP256K1())),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_an_unusable_key_is_said_so_without_a_word_of_it(
    odd_provider: OddProvider, newcomer: Browser, settings: Settings, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    use_key(settings, UNUSABLE[kind])
    with pytest.raises(UnusableKey, match=r"OAUTH_CLIENT_KEY") as raised:
        client_keys()

    assert newcomer.get(odd_provider.come_back(begin(newcomer))).status_code == 502
    assert str(raised.value) in caplog.text
    assert "s3cret" not in caplog.text
    assert "BEGIN" not in caplog.text


def test_an_unusable_key_ends_no_session(odd_provider: OddProvider, newcomer: Browser, settings: Settings) -> None:
    use_key(settings, pem(EC_KEY))
    newcomer.get(odd_provider.come_back(begin(newcomer)))
    settings.OAUTH_CLIENT_AUTH, settings.OAUTH_CLIENT_KEY = "private_key_jwt", ""
    odd_provider.expire_access_tokens()

    assert newcomer.open_page().status_code == 503


def test_a_second_attempt_has_another_assertion(
    odd_provider: OddProvider, newcomer: Browser, settings: Settings
) -> None:
    """A provider accepts each `jti` once."""
    settings.API_DIALECT = f"{__name__}.Repeating"
    use_key(settings, pem(EC_KEY))
    newcomer.get(odd_provider.come_back(begin(newcomer)))
    odd_provider.expire_access_tokens()
    odd_provider.forget_calls()
    odd_provider.fail("POST", TOKEN, Fault.lose_answer())

    assert newcomer.open_page().status_code == 200
    first, second = (assertion_of(call) for call in odd_provider.calls if call.path == TOKEN)
    assert first != second


def test_a_client_that_the_provider_refuses_keeps_its_sessions(
    strict_provider: OidcProvider, newcomer: Browser, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    sign_in_at_provider(newcomer)
    registered = settings.OAUTH_CLIENT_KEY
    settings.OAUTH_CLIENT_KEY = pem(EC_KEY)
    strict_provider.expire_access_tokens()

    assert newcomer.open_page().status_code == 503
    assert (
        "the provider refuses this client, check OAUTH_CLIENT_ID and its secret or key: invalid_client" in caplog.text
    )
    assert registered not in caplog.text


def test_an_older_provider_can_have_its_token_endpoint_as_the_audience(
    odd_provider: OddProvider, newcomer: Browser, settings: Settings
) -> None:
    settings.API_DIALECT = f"{__name__}.OlderProvider"
    use_key(settings, pem(EC_KEY))

    for call in calls_as_a_client(odd_provider, newcomer):
        verify(assertion_of(call), newcomer, "ES256", aud=odd_provider.url + call.path)


def test_the_key_can_be_changed_without_a_pause(
    strict_provider: OidcProvider, newcomer: Browser, settings: Settings
) -> None:
    """The provider fetches the published keys after each step, and not before."""
    old, new = settings.OAUTH_CLIENT_KEY, pem(EC_KEY)
    sign_in_at_provider(newcomer)
    try:
        for text in (f"{old}\n{new}", f"{new}\n{old}", new):
            settings.OAUTH_CLIENT_KEY = text
            strict_provider.expire_access_tokens()
            assert newcomer.is_signed_in()
            strict_provider.set_client(jwks={"keys": published_keys(newcomer)})
    finally:
        settings.OAUTH_CLIENT_KEY = old
        strict_provider.set_client(jwks={"keys": published_keys(newcomer)})

    assert newcomer.session().generation == 3
    assert sign_in_at_provider(newcomer)["Location"] == "/protected/"
