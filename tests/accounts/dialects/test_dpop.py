"""DPoP (RFC 9449): tokens that are bound to a key of the session, at a real provider and at odd ones."""

import hashlib
import json
import logging
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import jwt
import pytest
import requests
from django.http import HttpResponse
from django.urls import path
from jwcrypto.jwk import JWK
from pytest_django import Settings

from accounts.api_client import ApiRequest
from accounts.dialects.base import Refreshed
from accounts.rotation.refusal_check import verify_refusal
from accounts.session.api_session import ApiSession
from accounts.session.sealing import Purpose, open_sealed
from accounts.session.tokens import receive_pair
from accounts.upstream.dpop import forget_nonces, new_key, thumbprint
from config.urls import urlpatterns as site
from tests.accounts.at_provider import (
    begin,
    proof_of,
    query_of,
    shown,
    sign_in_at_provider,
    walk,
    without_nonce_requests,
)
from tests.accounts.odd_provider import USERINFO, OddProvider
from tests.browsers import Browser, cookies_set
from tests.demo_api.messages import Call
from tests.real_apis.oidc import OidcProvider

ROUTE = "/protected-route"
PROXIED = f"/protected/api{ROUTE}"
TABS = 10


async def from_async_view(request: ApiRequest) -> HttpResponse:
    return HttpResponse(status=(await request.api.aget(f"{ROUTE}?a=1#b")).status_code)


urlpatterns = [path("async/", from_async_view), *site]


@pytest.fixture(autouse=True)
def new_process() -> Iterator[None]:
    forget_nonces()
    yield
    forget_nonces()


@pytest.fixture
def bound(odd_provider: OddProvider, settings: Settings) -> OddProvider:
    """A provider that binds tokens to keys. It looks at no proof."""
    settings.OAUTH_DPOP = True
    odd_provider.tokens = {"token_type": "DPoP"}
    return odd_provider


def proven(calls: list[Call]) -> list[Call]:
    return [call for call in calls if "dpop" in call.headers]


def sealed_tokens(session: ApiSession) -> list[Any]:
    fields: list[list[Any]] = json.loads(open_sealed(Purpose.COOKIE, session.seal_for_cookie()))
    return fields[3]


def check_proof(call: Call, url: str) -> dict[str, Any]:
    """The claims of a proof that is right for this call. `url` is that of the server."""
    proof = call.headers["dpop"]
    header = jwt.get_unverified_header(proof)
    assert (header["typ"], header["alg"], header["jwk"].keys()) == ("dpop+jwt", "ES256", {"kty", "crv", "x", "y"})
    claims: dict[str, Any] = jwt.decode(proof, jwt.PyJWK(header["jwk"]), algorithms=["ES256"])
    assert (claims["htm"], claims["htu"]) == (call.method, url + call.path)
    scheme, _, token = call.headers.get("authorization", "").partition(" ")
    digest = urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).decode().rstrip("=")
    assert claims.get("ath") == (digest if scheme == "DPoP" else None)
    return {**claims, "jkt": JWK(**header["jwk"]).thumbprint()}


@pytest.mark.urls(__name__)
def test_each_call_has_a_proof_of_its_own_and_ten_tabs_over_an_expiry_cost_one_refresh(
    strict_provider: OidcProvider, newcomer: Browser, settings: Settings
) -> None:
    settings.API_PROXY_ALLOW = f"GET {ROUTE}, POST {ROUTE}"
    sign_in_at_provider(newcomer)
    strict_provider.expire_access_tokens()
    tabs = [newcomer.copy() for _ in range(TABS)]
    with ThreadPoolExecutor(TABS) as pool:
        assert [page.status_code for page in pool.map(Browser.open_page, tabs)] == [200] * TABS
    assert newcomer.get("/async/").status_code == 200
    body = json.dumps(["a" * 100]).encode()
    uploaded = newcomer.post(PROXIED, body, content_type="application/json")
    assert (uploaded.status_code, newcomer.get(f"{PROXIED}?a=1").status_code) == (200, 200)
    stream = newcomer.get("/protected/events/?rows=2&delay=0")
    assert b"data: " in b"".join(stream)
    newcomer.sign_out()

    calls = [call for call in strict_provider.calls if call.path in (ROUTE, "/token")]
    proofs = [check_proof(call, strict_provider.url) for call in calls]
    assert len({proof["jti"] for proof in proofs}) == len(calls)
    assert {proof["jkt"] for proof in proofs} == {thumbprint(tabs[0].session().tokens.dpop_key)}
    refreshed = [call.status for call in without_nonce_requests(calls) if call.path == "/token"]
    assert refreshed == [200, 200], "the sign-in and one refresh"
    assert {call.headers["authorization"].partition(" ")[0] for call in calls if call.path == ROUTE} == {"DPoP"}


def test_a_stolen_token_is_useless_without_the_cookie(strict_provider: OidcProvider, newcomer: Browser) -> None:
    sign_in_at_provider(newcomer)
    newcomer.open_page()
    stolen = newcomer.session().tokens
    seen = [call.headers["dpop"] for call in strict_provider.calls if call.path == ROUTE][-1]
    url = strict_provider.url

    attempts = [
        requests.get(url + ROUTE, headers={"Authorization": f"Bearer {stolen.access}"}),
        requests.get(url + ROUTE, headers={"Authorization": f"DPoP {stolen.access}"}),
        # With a proof that was copied together with the token.
        requests.get(url + ROUTE, headers={"Authorization": f"DPoP {stolen.access}", "DPoP": seen}),
    ]
    form = {"grant_type": "refresh_token", "refresh_token": stolen.refresh, "client_id": "site"}
    refreshed = requests.post(f"{url}/token", form)

    assert [attempt.status_code for attempt in attempts] == [401] * 3
    assert refreshed.status_code in (400, 401)
    # A cookie whose tokens are of another key: the API refuses the proof, and nothing is rotated.
    thief = newcomer.copy()
    session = thief.session()
    forged = replace(session, tokens=replace(session.tokens, dpop_key=new_key()))
    thief.client.cookies["session"] = forged.seal_for_cookie()
    refreshes = strict_provider.count_refreshes()
    assert thief.get(PROXIED).status_code == 401
    assert strict_provider.count_refreshes() == refreshes
    assert newcomer.is_signed_in()


def test_the_key_is_in_the_sealed_cookie_and_nowhere_else(
    bound: OddProvider, newcomer: Browser, caplog: pytest.LogCaptureFixture, settings: Settings
) -> None:
    caplog.set_level(logging.DEBUG)
    settings.OAUTH_SCOPE = "openid"
    bound.claims = {"name": None}
    location = begin(newcomer)
    sealed = newcomer.take()
    newcomer.get(bound.come_back(location))
    tokens = newcomer.session().tokens

    assert query_of(location)["dpop_jkt"] == thumbprint(tokens.dpop_key)
    [userinfo] = [call for call in bound.calls if call.path == USERINFO]
    assert check_proof(userinfo, bound.url)["ath"]
    assert newcomer.open_page().status_code == 200
    record = newcomer.record()
    kept = record.newest(newcomer.session()) if record.sealed else newcomer.session()
    assert kept.tokens.dpop_key == tokens.dpop_key
    [page] = [call for call in bound.calls if call.path == ROUTE]
    everything = f"{caplog.text}{location}{sealed}{tokens!r}{kept!r}{[bound.calls]!r}"
    for secret in (tokens.dpop_key, page.headers["dpop"], tokens.access):
        assert secret not in everything
    # Appended, so the release before can open it. Without a key, nothing is.
    session = newcomer.session()
    assert sealed_tokens(session)[8:] == [tokens.dpop_key]
    assert len(sealed_tokens(replace(session, tokens=replace(tokens, dpop_key="")))) == 5


def test_a_provider_without_it_is_refused(
    bound: OddProvider, newcomer: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    for token_type in ("Bearer", None):
        bound.tokens = {"token_type": token_type}
        bound.forget_calls()

        failed = newcomer.get(bound.come_back(begin(newcomer)))

        assert (failed.status_code, "You are not signed in" in shown(failed)) == (502, True)
        assert "the provider's token_type is not DPoP" in caplog.text
        assert bound.count(*bound.revoke_call) == 1


def test_a_refresh_that_brings_a_bearer_token_loses_no_session(
    bound: OddProvider, newcomer: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    newcomer.get(bound.come_back(begin(newcomer)))
    key = newcomer.session().tokens.dpop_key
    bound.tokens = {"token_type": "Bearer"}
    bound.expire_access_tokens()

    assert newcomer.is_signed_in()
    assert (newcomer.session().generation, newcomer.session().tokens.dpop_key) == (1, "")
    assert bound.calls[-1].headers["authorization"].startswith("Bearer ")
    assert "dpop" not in bound.calls[-1].headers
    assert "sent a bearer token in place of one that is bound to a key" in caplog.text
    # The next refresh asks again.
    bound.tokens = {"token_type": "DPoP"}
    bound.expire_access_tokens()
    assert newcomer.is_signed_in()
    assert newcomer.session().tokens.dpop_key not in ("", key)


def test_sessions_from_before_get_a_key_at_their_next_refresh(
    odd_provider: OddProvider, newcomer: Browser, settings: Settings
) -> None:
    newcomer.get(odd_provider.come_back(begin(newcomer)))
    pending = begin(newcomer)
    settings.OAUTH_DPOP = True
    odd_provider.tokens = {"token_type": "DPoP"}
    assert newcomer.is_signed_in()
    assert proven(odd_provider.calls) == []

    odd_provider.expire_access_tokens()
    assert newcomer.is_signed_in()
    refresh, page = proven(odd_provider.calls)
    assert check_proof(refresh, odd_provider.url)["jkt"] == check_proof(page, odd_provider.url)["jkt"]
    # It stays until the session ends, also if the setting changes.
    settings.OAUTH_DPOP = False
    odd_provider.expire_access_tokens()
    assert newcomer.is_signed_in()
    assert len({check_proof(call, odd_provider.url)["jkt"] for call in proven(odd_provider.calls)}) == 1
    # A sign-in that began without a key ends without one.
    settings.OAUTH_DPOP = True
    odd_provider.tokens = {"token_type": "Bearer"}
    assert newcomer.get(odd_provider.come_back(pending)).status_code == 302


def test_the_check_of_a_refusal_gives_a_session_from_before_a_key_too(bound: OddProvider) -> None:
    outcome = verify_refusal(receive_pair("access", "refresh"), address="", ends_at=time.monotonic() + 30)

    assert isinstance(outcome, Refreshed)
    [refresh] = proven(bound.calls)
    assert check_proof(refresh, bound.url)["jkt"] == thumbprint(outcome.tokens.dpop_key)


def test_a_callback_that_is_fetched_twice_leads_to_the_same_key(
    strict_provider: OidcProvider, newcomer: Browser
) -> None:
    callback = walk(begin(newcomer))
    first = newcomer.copy()
    assert cookies_set(first.get(callback))

    assert newcomer.get(callback)["Location"] == "/protected/"
    assert newcomer.session().tokens.dpop_key == first.session().tokens.dpop_key
    assert newcomer.is_signed_in()


def test_a_proof_names_the_address_without_its_query(bound: OddProvider, newcomer: Browser) -> None:
    bound.metadata = {"token_endpoint": f"{bound.issuer}/token?tenant=1"}
    newcomer.get(bound.come_back(begin(newcomer)))

    [redeemed] = [call for call in bound.calls if call.query == "tenant=1"]
    assert proof_of(redeemed)["htu"] == f"{bound.issuer}/token"
    assert "ath" not in proof_of(redeemed)
