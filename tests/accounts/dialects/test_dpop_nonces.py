"""Servers that want a nonce in DPoP proofs (RFC 9449 sections 8 and 9): the call is repeated, and nothing is spent."""

import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jwt
import pytest
from pytest_django import Settings

from accounts.history.traced_requests import TracedRequestWriter
from accounts.upstream import dpop
from protected import proxy
from tests.accounts.at_provider import begin, proof_of, sign_in_at_provider, skip_retry_pause
from tests.accounts.odd_provider import TOKEN, OddProvider
from tests.accounts.telemetry.traces import trace_writer
from tests.browsers import PATIENCE_SECONDS, Browser, cookies_set
from tests.demo_api.messages import Answer, Call, Request
from tests.demo_api.server import Fault
from tests.real_apis.oidc import OidcProvider

__all__ = ["trace_writer"]

ROUTE = "/protected-route"
PROXIED = f"/protected/api{ROUTE}"
PROVIDERS, APIS = "provider-nonce", "api-nonce"


@pytest.fixture(autouse=True)
def new_process() -> Iterator[None]:
    dpop.forget_nonces()
    yield
    dpop.forget_nonces()


@pytest.fixture
def bound(odd_provider: OddProvider, settings: Settings) -> OddProvider:
    """A provider that binds tokens to keys. It looks at no proof, and asks for no nonce."""
    settings.OAUTH_DPOP = True
    settings.API_PROXY_ALLOW = f"GET {ROUTE}, POST {ROUTE}"
    odd_provider.tokens = {"token_type": "DPoP"}
    return odd_provider


@pytest.fixture
def ada(bound: OddProvider, newcomer: Browser) -> Browser:
    newcomer.get(bound.come_back(begin(newcomer)))
    bound.forget_calls()
    return newcomer


def providers_challenge(nonce: str | None = PROVIDERS, status: int = 400) -> Fault:
    return Fault.answer(status, {"error": "use_dpop_nonce"}, headers={"DPoP-Nonce": nonce} if nonce else {})


def apis_challenge(nonce: str | None = APIS, challenge: str = 'DPoP error="use_dpop_nonce"') -> Fault:
    headers = {"WWW-Authenticate": challenge, **({"DPoP-Nonce": nonce} if nonce else {})}
    return Fault.answer(401, {"error": "use_dpop_nonce"}, headers=headers)


def wire(provider: OddProvider) -> list[tuple[str, int, Any]]:
    """The calls with a proof since the last time: path, status, nonce."""
    calls = [call for call in provider.calls if "dpop" in call.headers]
    provider.forget_calls()
    jtis = [proof_of(call)["jti"] for call in calls]
    assert len(set(jtis)) == len(jtis)
    return [(call.path, call.status, proof_of(call).get("nonce")) for call in calls]


def test_a_real_provider_and_its_api_change_their_nonces(
    strict_provider: OidcProvider, newcomer: Browser, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.API_PROXY_ALLOW = f"POST {ROUTE}"
    monkeypatch.setattr(proxy, "MAX_REPEATED_BODY_BYTES", 9)
    sign_in_at_provider(newcomer)
    assert newcomer.is_signed_in()
    for _ in range(2):
        strict_provider.change_api_nonce()
        assert newcomer.is_signed_in()
        assert newcomer.post(PROXIED, b"a", content_type="text/plain").status_code == 200
    large = b"0123456789"
    strict_provider.change_api_nonce()
    dpop.forget_nonces()
    strict_provider.forget_calls()

    assert newcomer.post(PROXIED, large, content_type="text/plain").status_code == 200
    assert [(call.method, call.status) for call in strict_provider.calls] == [("HEAD", 401), ("POST", 200)]
    assert newcomer.post(PROXIED, large, content_type="text/plain").status_code == 200
    assert (newcomer.session().generation, strict_provider.count_refreshes()) == (0, 0)


@pytest.mark.parametrize("status", [400, 401])
def test_the_provider_asks_at_the_sign_in_and_renews_its_nonce(
    bound: OddProvider, newcomer: Browser, status: int
) -> None:
    back = bound.come_back(begin(newcomer))
    bound.fail("POST", TOKEN, providers_challenge(status=status))

    assert newcomer.get(back)["Location"] == "/protected/"
    assert wire(bound)[:2] == [(TOKEN, status, None), (TOKEN, 200, PROVIDERS)]
    bound.expire_access_tokens()
    bound.fail("POST", TOKEN, providers_challenge("newer"))
    assert newcomer.is_signed_in()
    # The provider's nonce is not the API's, also at one origin.
    assert wire(bound) == [(ROUTE, 401, None), (TOKEN, 400, PROVIDERS), (TOKEN, 200, "newer"), (ROUTE, 200, None)]


def test_a_refresh_that_is_asked_and_then_lost_spends_nothing_twice(ada: Browser, bound: OddProvider) -> None:
    bound.expire_access_tokens()
    bound.fail("POST", TOKEN, providers_challenge())
    bound.fail("POST", TOKEN, Fault.lose_answer())

    assert ada.open_page().status_code == 503
    # At once it is not sent again: the provider may have spent the token.
    assert [call[2] for call in wire(bound)] == [None, None, PROVIDERS]
    assert ada.session().generation == 0
    skip_retry_pause()
    assert ada.is_signed_in()
    assert ada.session().generation == 1


@pytest.mark.parametrize("nonce", [PROVIDERS, None, "two words", "a" * 1001])
def test_a_provider_that_never_stops_asking_ends_no_session(
    ada: Browser, bound: OddProvider, caplog: pytest.LogCaptureFixture, nonce: str | None
) -> None:
    bound.expire_access_tokens()
    bound.fail("POST", TOKEN, providers_challenge(nonce), times=None)

    page = ada.open_page()

    assert (page.status_code, cookies_set(page)) == (503, {})
    assert [call[0] for call in wire(bound)] == [ROUTE, *[TOKEN] * (2 if nonce == PROVIDERS else 1)]
    assert "use_dpop_nonce" in caplog.text
    assert nonce is None or nonce not in caplog.text
    bound.heal()
    skip_retry_pause()
    assert ada.is_signed_in()


@pytest.mark.parametrize(
    "challenge", ['DPoP error="use_dpop_nonce"', 'Bearer realm="a", dpop algs="ES256", error=use_dpop_nonce']
)
def test_the_api_asks_and_the_call_is_repeated_with_the_same_token(
    ada: Browser, bound: OddProvider, challenge: str
) -> None:
    bound.fail("POST", ROUTE, apis_challenge(challenge=challenge))

    assert ada.post(PROXIED, b"{}", content_type="application/json").status_code == 200
    bodies = [call.body for call in bound.calls]
    assert (wire(bound), bodies) == ([(ROUTE, 401, None), (ROUTE, 200, APIS)], [b"{}", b"{}"])
    assert ada.is_signed_in()
    assert wire(bound) == [(ROUTE, 200, APIS)]
    # Asked, and then the token has expired, and then asked again: one refresh.
    bound.expire_access_tokens()
    for nonce in ("second", "third"):
        bound.fail("GET", ROUTE, apis_challenge(nonce))
        assert ada.is_signed_in()
    assert [call[:2] for call in wire(bound)] == [
        *[(ROUTE, 401), (ROUTE, 401), (TOKEN, 200), (ROUTE, 200)],
        *[(ROUTE, 401), (ROUTE, 200)],
    ]
    assert ada.session().generation == 1


@pytest.mark.parametrize("nonce", [APIS, None, 'quo"ted'])
def test_an_api_that_never_stops_asking_costs_no_refresh(ada: Browser, bound: OddProvider, nonce: str | None) -> None:
    bound.fail("GET", ROUTE, apis_challenge(nonce), times=None)

    for address in ("/protected/", PROXIED):
        assert ada.get(address).status_code == 503
        assert {call[0] for call in wire(bound)} == {ROUTE}
    bound.heal()
    assert ada.is_signed_in()
    assert ada.session().generation == 0


def test_ten_tabs_at_an_api_that_takes_each_nonce_once(
    ada: Browser, bound: OddProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    unused: set[str] = set()
    lock = threading.Lock()

    def open_once(request: Request) -> Answer:
        nonce = jwt.decode(request.headers["dpop"], options={"verify_signature": False}).get("nonce")
        fresh = secrets.token_urlsafe()
        with lock:
            is_unused = nonce in unused
            unused.discard(nonce)
            unused.add(fresh)
        if is_unused:
            return Answer.json(200, {"data": []}, DPoP_Nonce=fresh)
        return Answer.json(401, {}, WWW_Authenticate='DPoP error="use_dpop_nonce"', DPoP_Nonce=fresh)

    monkeypatch.setattr(bound, "_open", open_once)
    tabs = [ada.copy() for _ in range(10)] * 10
    with ThreadPoolExecutor(10) as pool:
        assert {page.status_code for page in pool.map(Browser.open_page, tabs)} == {200}


def test_a_body_that_cannot_be_repeated(ada: Browser, bound: OddProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy, "MAX_REPEATED_BODY_BYTES", 9)

    def upload() -> tuple[int, str, list[tuple[str, Any]]]:
        answer = ada.post(PROXIED, b"0123456789", content_type="text/plain")
        calls: list[Call] = bound.calls
        sent = [(call.method, proof_of(call).get("nonce")) for call in calls]
        bound.forget_calls()
        return answer.status_code, answer.get("Retry-After", ""), sent

    # The API asks for nothing yet: that is known after one call.
    assert upload() == (200, "", [("HEAD", None), ("POST", None)])
    assert upload() == (200, "", [("POST", None)])
    bound.fail("POST", ROUTE, apis_challenge())
    assert upload() == (401, "1", [("POST", None)])
    assert upload() == (200, "", [("POST", APIS)])
    monkeypatch.setattr(dpop, "_NONCE_SECONDS", 0.0)
    bound.fail("HEAD", ROUTE, apis_challenge("newer"))
    assert upload() == (200, "", [("HEAD", APIS), ("POST", "newer")])
    assert ada.session().generation == 0


def test_the_request_trace_says_what_happened_and_shows_no_proof(
    ada: Browser, bound: OddProvider, trace_writer: TracedRequestWriter
) -> None:
    bound.fail("GET", ROUTE, apis_challenge())
    assert ada.is_signed_in()
    bound.expire_access_tokens()
    bound.fail("POST", TOKEN, providers_challenge())
    assert ada.is_signed_in()

    headers = [call.headers["dpop"] for call in bound.calls if "dpop" in call.headers]
    assert trace_writer.finish(PATIENCE_SECONDS)
    trace = ada.get("/protected/trace/").text
    for status in (400, 401):
        assert f"The server wants a nonce in the proof of the session&#x27;s key: {status}." in trace
    assert not [text for text in (PROVIDERS, APIS, *headers) if text in trace]


def test_a_refused_proof_is_no_reason_for_a_refresh(
    ada: Browser, bound: OddProvider, caplog: pytest.LogCaptureFixture
) -> None:
    body = {"error": "invalid_dpop_proof"}
    headers = {"WWW-Authenticate": 'DPoP error="invalid_dpop_proof"'}
    bound.fail("GET", ROUTE, Fault.answer(401, body, headers=headers))

    refused = ada.get(PROXIED)
    assert (refused.status_code, b"".join(refused)) == (401, b'{"error": "invalid_dpop_proof"}')
    assert [call[0] for call in wire(bound)] == [ROUTE]
    assert "the API refuses the DPoP proof" in caplog.text
    bound.expire_access_tokens()
    bound.fail("POST", TOKEN, Fault.answer(400, body))
    assert ada.open_page().status_code == 503
    assert "the provider refuses the DPoP proof, check this host's clock" in caplog.text
    skip_retry_pause()
    assert ada.is_signed_in()


def test_a_server_that_no_longer_takes_nonces_gets_none(ada: Browser, bound: OddProvider) -> None:
    bound.fail("GET", ROUTE, apis_challenge())
    bound.expire_access_tokens()
    bound.fail("POST", TOKEN, providers_challenge())
    assert ada.is_signed_in()
    bound.forget_calls()
    # As oidc-provider does after a restart without nonces.
    refusal = {"error": "invalid_dpop_proof"}
    headers = {"WWW-Authenticate": 'DPoP error="invalid_dpop_proof"'}
    bound.fail("GET", ROUTE, Fault.answer(401, refusal, headers=headers))
    assert ada.get(PROXIED).status_code == 401
    bound.expire_access_tokens()
    bound.fail("POST", TOKEN, Fault.answer(400, refusal))
    assert ada.open_page().status_code == 503
    skip_retry_pause()

    assert ada.is_signed_in()
    nonces = [call[2] for call in wire(bound)]
    assert nonces == [APIS, None, PROVIDERS, None, None, None], "each server got its nonce once more"


def test_a_call_that_is_repeated_over_a_new_connection_has_a_new_proof(ada: Browser, bound: OddProvider) -> None:
    assert ada.is_signed_in()
    bound.fail("GET", ROUTE, Fault.reset())

    assert ada.is_signed_in()
    assert [call[0] for call in wire(bound)] == [ROUTE] * 3
