"""Signing in with `oauth2`, whatever a browser brings to the callback, and whatever the provider's answers are."""

import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from django.conf import settings as site
from django.http import HttpResponse
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm
from pytest_django import Settings

from accounts.dialects import discovery as provider
from accounts.models import SessionRecord
from accounts.sign_in.authorization_request import AuthorizationRequest
from tests.browsers import Browser
from tests.fuzz.effort import fuzz
from tests.fuzz.raw_api import RawApi, said
from tests.fuzz.request_strategies import queries, request_headers
from tests.fuzz.strategies import answers, as_json, bodies, changed, json_values, texts
from tests.fuzz.test_requests import leads_here, next_pages
from tests.fuzz.visitors import NEXT_ACCESS, NEXT_REFRESH, Visit, new_browser, read, signed_in

CALLBACK = "/accounts/callback/"
LOGIN = "/accounts/login/"
DISCOVERY = "/.well-known/openid-configuration"
CLIENT = "site"
KEY = generate_private_key(SECP256R1())
JWK: dict[str, Any] = {**json.loads(ECAlgorithm.to_jwk(KEY.public_key())), "kid": "k", "use": "sig", "alg": "ES256"}

#: Endpoints that nobody can be sent to. None of them is looked up by name.
ADDRESSES = st.one_of(
    json_values,
    st.sampled_from(
        [
            "http://",
            "https://",
            "https:///x",
            "http://[::1",
            "http://127.0.0.1:99999/",
            "http://127.0.0.1:x/",
            "http://127.0.0.1:1/",
            "http://127.0.0.1:1/\ud800",
            "http://127.0.0.1:1/\r\nX-Injected: yes",
            "http://127.0.0.1:1/\u6f6e",
            "http://127.0.0.1:1/" + "a" * 20_000,
            "http:// /",
            "http://*/",
            "http://..",
            "ftp://127.0.0.1/",
            "javascript:alert(1)",
            "//127.0.0.1/",
            "/token",
        ]
    ),
)
HINTS = st.sampled_from(["login_hint", "ui_locales", "prompt"])
#: A failed sign-in is a page with the way back: 400 for what the browser brought, 403 for a refusal of the provider's.
STATUSES = (302, 400, 403, 502, 503)


@pytest.fixture
def api(api: RawApi, settings: Settings) -> Iterator[RawApi]:
    """The provider, which is the API too."""
    settings.API_DIALECT = "oauth2"
    settings.OAUTH_ISSUER = api.url
    settings.OAUTH_CLIENT_ID = CLIENT
    settings.OAUTH_CLIENT_SECRET = "the-clients-own"
    yield api
    forget_provider()


def forget_provider() -> None:
    """Its documents are kept for an hour, and nobody asks again for a while after a failure."""
    provider._discovery.cache_clear()
    provider._document.cache_clear()


def discovery(url: str) -> dict[str, Any]:
    return {
        "issuer": url,
        "authorization_endpoint": f"{url}/authorize",
        "token_endpoint": f"{url}/token",
        "userinfo_endpoint": f"{url}/userinfo",
        "revocation_endpoint": f"{url}/revoke",
        "pushed_authorization_request_endpoint": f"{url}/par",
        "end_session_endpoint": f"{url}/end",
        "jwks_uri": f"{url}/jwks",
        "token_endpoint_auth_methods_supported": ["client_secret_basic"],
        "authorization_response_iss_parameter_supported": False,
    }


def claims(url: str, asked: AuthorizationRequest) -> dict[str, Any]:
    now = int(time.time())
    return {"iss": url, "aud": CLIENT, "sub": "7", "iat": now, "exp": now + 600, "nonce": asked.nonce, "name": "Ada"}


def tokens(id_token: object) -> dict[str, Any]:
    return {"access_token": NEXT_ACCESS, "refresh_token": NEXT_REFRESH, "token_type": "Bearer", "id_token": id_token}


def begin(api: RawApi, next_page: str = "/protected/", **answers: bytes) -> tuple[Browser, AuthorizationRequest]:
    """A browser on its way back from a provider that is well, but for these answers."""
    pushed = said(as_json({"request_uri": "urn:1"}), status=201)
    well = {"discovery": said(as_json(discovery(api.url))), "jwks": said(as_json({"keys": [JWK]})), "par": pushed}
    well |= answers
    api.begin({DISCOVERY if name == "discovery" else f"/{name}": raw for name, raw in well.items()})
    forget_provider()
    asked = AuthorizationRequest.begin(next_page)
    response = HttpResponse()
    asked.remember(response, presented={})
    return new_browser({name: each.value for name, each in response.cookies.items()}), asked


def sign_id_token(payload: dict[str, Any], headers: dict[str, Any] | None = None) -> str:
    return jwt.encode(payload, KEY, algorithm="ES256", headers={"kid": "k", **(headers or {})})


def come_back(browser: Browser, asked: AuthorizationRequest, **query: str) -> Visit:
    """The answer to a browser that comes back with a code: signed in, or a page that says why not."""
    parameters = urlencode({"state": asked.state, "code": "c0", **query})

    visit = read(browser.get(f"{CALLBACK}?{parameters}"), STATUSES)

    assert leads_here(visit.headers.get("Location", ""))
    assert bool(visit.cookies.get(site.API_SESSION_COOKIE_NAME)) == (visit.status == 302)
    assert SessionRecord.objects.filter(user_name="Ada").exists() or visit.status != 302 or browser.session()
    return visit


@fuzz
@given(next_page=next_pages)
def test_who_comes_back_is_signed_in_and_stays_here(api: RawApi, next_page: str) -> None:
    browser, asked = begin(api, next_page)
    api.answers["/token"] = said(as_json(tokens(sign_id_token(claims(api.url, asked)))))

    assert come_back(browser, asked).status == 302


@fuzz
@given(data=st.data())
def test_every_claim_of_an_id_token_is_looked_at(api: RawApi, data: st.DataObject) -> None:
    browser, asked = begin(api)
    right = claims(api.url, asked)
    payload = data.draw(changed(right))
    try:
        id_token = sign_id_token(payload)
    except (TypeError, ValueError):
        # No library of the provider's would sign it either.
        return
    api.answers["/token"] = said(as_json(tokens(id_token)))

    visit = come_back(browser, asked)

    if any(payload.get(name) != right[name] for name in ("iss", "aud", "nonce")):
        assert visit.status == 502


@fuzz
@given(
    header=st.dictionaries(
        st.sampled_from(["alg", "kid", "crit", "jwk", "jku", "typ", "b64", "x5c"]), json_values, max_size=3
    ),
    payload=bodies,
    signature=st.binary(max_size=80),
)
def test_a_token_that_nobody_signed_signs_nobody_in(
    api: RawApi, header: dict[str, Any], payload: bytes, signature: bytes
) -> None:
    browser, asked = begin(api)
    parts = [as_json({"alg": "ES256", "kid": "k"} | header), payload, signature]
    id_token = b".".join(jwt.utils.base64url_encode(part) for part in parts).decode()
    api.answers["/token"] = said(as_json(tokens(id_token)))

    assert come_back(browser, asked).status == 502


@fuzz
@given(document=changed(JWK), others=json_values, alone=st.booleans())
def test_keys_of_every_kind(api: RawApi, document: dict[str, Any], others: Any, alone: bool) -> None:
    keys = [document] if alone else [document, others]
    browser, asked = begin(api, jwks=said(as_json({"keys": keys})))
    api.answers["/token"] = said(as_json(tokens(sign_id_token(claims(api.url, asked)))))

    come_back(browser, asked)


@fuzz
@given(answer=answers(), which=st.sampled_from(["discovery", "jwks", "token", "userinfo"]))
def test_documents_and_tokens_of_every_kind(api: RawApi, answer: Any, which: str) -> None:
    browser, asked = begin(api)
    nameless = {name: value for name, value in claims(api.url, asked).items() if name != "name"}
    api.answers["/token"] = said(as_json(tokens(sign_id_token(nameless))))
    api.answers[DISCOVERY if which == "discovery" else f"/{which}"] = answer.raw

    come_back(browser, asked)


@fuzz
@given(data=st.data(), which=st.sampled_from(["discovery", "token", "userinfo"]))
def test_documents_of_the_right_kind_with_something_wrong_in_them(api: RawApi, data: st.DataObject, which: str) -> None:
    browser, asked = begin(api)
    right = {
        "discovery": discovery(api.url),
        "token": tokens(sign_id_token(claims(api.url, asked))) | {"expires_in": 60, "refresh_expires_in": 600},
        "userinfo": {"sub": "7", "name": "Ada", "email": "ada@example.com"},
    }[which]
    api.answers["/token"] = said(as_json(tokens(sign_id_token(claims(api.url, asked) | {"name": None}))))
    api.answers[DISCOVERY if which == "discovery" else f"/{which}"] = said(as_json(data.draw(changed(right))))

    come_back(browser, asked)


@fuzz
@given(
    endpoint=st.sampled_from(sorted(name for name, value in discovery("x").items() if str(value).startswith("x/"))),
    address=ADDRESSES,
)
def test_endpoints_that_lead_nowhere(api: RawApi, endpoint: str, address: Any) -> None:
    document = discovery(api.url) | {endpoint: address}
    browser, asked = begin(api, discovery=said(as_json(document)))
    api.answers["/token"] = said(as_json(tokens(sign_id_token(claims(api.url, asked) | {"name": None}))))

    begun = read(new_browser().post(LOGIN, {"next": "/"}), (302, 502, 503))
    come_back(browser, asked)
    read(browser.post("/accounts/logout/"), (200, 302))
    read(browser.get("/accounts/logout/provider/"), (302,))
    read(signed_in().post("/accounts/logout/"), (200, 302))

    assert "X-Injected" not in begun.headers


@fuzz
@given(
    parameters=st.dictionaries(
        st.sampled_from(["code", "error", "error_description", "iss", "session_state", "scope", "state"]),
        st.one_of(texts, st.sampled_from(["access_denied", "temporarily_unavailable", "x"])).map(
            lambda text: text.encode(errors="replace").decode()
        ),
        max_size=4,
    ),
    rest=queries,
    headers=request_headers,
    knows=st.sampled_from([0, 8, 32]),
)
def test_parameters_of_every_kind(
    api: RawApi, parameters: dict[str, str], rest: str, headers: dict[str, str], knows: int
) -> None:
    """`knows` is how many characters of the state: the first 8 are in the cookie's name."""
    browser, asked = begin(api, token=said(b'{"error": "invalid_grant"}', status=400))
    state = {"state": asked.state[:knows] + "0" * (32 - knows)}
    query = f"{urlencode(parameters | state)}&{rest}"
    environ = {"PATH_INFO": CALLBACK, "QUERY_STRING": query, **headers}

    visit = read(browser.client.request(**environ), STATUSES)

    assert not visit.cookies.get(site.API_SESSION_COOKIE_NAME)
    assert leads_here(visit.headers.get("Location", ""))
    assert knows == 32 or not api.heard


@fuzz
@given(next_page=next_pages)
def test_the_cookie_of_a_sign_in_under_way_fits_whatever_next_is(api: RawApi, next_page: str) -> None:
    begin(api)

    visit = read(new_browser().post(LOGIN, {"next": next_page}), (302,))

    assert len(visit.cookies) == 1


@fuzz
@given(answer=answers(), status=st.sampled_from([200, 201, 400]), hints=st.dictionaries(HINTS, texts), data=st.data())
def test_answers_of_every_kind_to_a_pushed_request(
    api: RawApi, answer: Any, status: int, hints: dict[str, str], data: st.DataObject
) -> None:
    right = {"request_uri": "urn:1", "expires_in": 60, "error_description": "No."}
    raw = data.draw(st.sampled_from([answer.raw, said(as_json(data.draw(changed(right))), status=status)]))
    begin(api, par=raw)
    form = {name: text.encode(errors="replace").decode() for name, text in hints.items()}

    visit = read(new_browser().post(LOGIN, {"next": "/", **form}), (302, 502, 503))

    location = visit.headers.get("Location", "")
    assert location.startswith(f"{api.url}/authorize?client_id={CLIENT}&request_uri=") or visit.status != 302
    assert "\n" not in location
