"""Proofs, challenges and device cookies that were changed or made up: none is accepted, and none breaks anything."""

from typing import Any

import jwt
import pytest
from django.http import parse_cookie
from hypothesis import example, given
from hypothesis import strategies as st
from pytest_django import Settings

from accounts.models import AttemptCount
from tests.accounts.device.forgeries import encode
from tests.device_browser import DeviceBrowser, challenge_in
from tests.device_key import REGISTRATION, Device, read_registration
from tests.fuzz.effort import fuzz
from tests.fuzz.raw_api import RawApi, said
from tests.fuzz.strategies import as_json, json_values, latin
from tests.fuzz.test_sealed_texts import Change, changes, unchanged
from tests.fuzz.visitors import NEW_PAIR, read

REFUSED = (400, 401, 403, 404, 413)
ADA = "ada@example.com"
headers = st.dictionaries(
    st.sampled_from(["typ", "alg", "jwk", "kid", "crit", "b64", "x5c", "jku"]), json_values, max_size=4
)
keys = st.dictionaries(
    st.sampled_from(["kty", "crv", "x", "y", "n", "e", "d", "k", "use", "key_ops", "alg"]),
    st.one_of(json_values, st.sampled_from(["EC", "RSA", "P-256", "AQAB", "AQ"])),
)


REGISTER, REFRESH = "/accounts/device/register/", "/accounts/device/refresh/"


@pytest.fixture
def https(api: RawApi, settings: Settings) -> None:
    settings.API_SESSION_DEVICE_BINDING = settings.API_SESSION_COOKIE_SECURE = True
    api.begin({"/auth/login": said(NEW_PAIR), "/protected-route": said(b'{"data": []}')}, keeps_open=True)


@pytest.fixture
def asked(https: None) -> tuple[dict[str, str], str]:
    """The cookies of a browser that has not registered yet, and the site's challenge."""
    browser = DeviceBrowser()
    browser.registers = False
    _, challenge = read_registration(browser.sign_in(ADA).headers[REGISTRATION])
    return browser.take(), challenge


@pytest.fixture
def bound(https: None) -> DeviceBrowser:
    browser = DeviceBrowser()
    browser.sign_in(ADA)
    assert browser.is_signed_in()
    return browser


@fuzz
@given(change=changes, header=headers)
@example(change=unchanged, header={})
def test_only_the_browsers_own_proof_registers(
    asked: tuple[dict[str, str], str], change: Change, header: dict[str, Any]
) -> None:
    AttemptCount.objects.all().delete()  # of the keys that were registered before
    cookies, challenge = asked
    device = Device()
    proof = sign(device, challenge, {"typ": "dbsc+jwt", "jwk": device.jwk} | header)
    changed = change(proof)

    visit = read(DeviceBrowser(cookies).post_proof(REGISTER, changed), (200, *REFUSED))

    assert visit.status == 200 or changed != proof or header
    assert visit.status != 200 or is_quoted(changed, proof)
    assert bool(visit.cookies) == (visit.status == 200)


@fuzz
@given(jwk=keys, header=headers)
def test_no_other_key_registers(asked: tuple[dict[str, str], str], jwk: dict[str, Any], header: dict[str, Any]) -> None:
    cookies, challenge = asked
    proof = sign(Device(), challenge, {**header, "typ": "dbsc+jwt", "jwk": jwk})

    visit = read(DeviceBrowser(cookies).post_proof(REGISTER, proof), REFUSED)

    assert not visit.cookies


@fuzz
@given(change=changes, payload=st.one_of(st.none(), json_values), others=st.booleans())
@example(change=unchanged, payload=None, others=False)
@example(change=unchanged, payload=None, others=True)
def test_only_the_registered_key_renews_the_device_cookie(
    bound: DeviceBrowser, change: Change, payload: Any, others: bool
) -> None:
    assert bound.config is not None
    session_id = bound.config["session_identifier"]
    challenge = challenge_in(bound.post_proof(REFRESH, None, session_id))
    device = Device() if others else bound.device
    proof = sign(device, challenge, {"typ": "dbsc+jwt"}, payload)
    changed = change(proof)

    visit = read(bound.post_proof(REFRESH, changed, session_id), (200, *REFUSED))

    is_good = payload is None and not others
    assert visit.status == 200 or changed != proof or not is_good
    assert visit.status != 200 or (is_good and is_quoted(changed, proof))
    assert bool(visit.cookies) == (visit.status == 200)


@fuzz
@given(proof=st.one_of(latin, st.none()), session_id=latin, path=st.sampled_from([REGISTER, REFRESH]))
def test_any_header_is_refused(bound: DeviceBrowser, proof: str | None, session_id: str, path: str) -> None:
    assert not read(bound.post_proof(path, proof, session_id), REFUSED).cookies


@fuzz
@given(change=changes)
@example(change=unchanged)
def test_only_its_own_text_is_a_device_cookie(bound: DeviceBrowser, change: Change) -> None:
    assert bound.config is not None
    name = bound.config["credentials"][0]["name"]
    cookies = bound.take()
    text = cookies.pop(name)
    sent = "; ".join([*(f"{other}={value}" for other, value in cookies.items()), f"{name}={change(text)}"])

    visit = read(bound.client.get("/protected/", secure=True, HTTP_COOKIE=sent), (200, 403))

    assert (visit.status == 200) == (parse_cookie(sent).get(name) == text)
    assert not visit.deletes_session


def is_quoted(header: str, proof: str) -> bool:
    """Whether it is the proof, perhaps with spaces or quotation marks around it."""
    return header.strip().strip('"') == proof


def sign(device: Device, challenge: str, header: dict[str, Any], payload: Any = None) -> str:
    """With any header at all: PyJWT would correct some."""
    content = {"jti": challenge} if payload is None else payload
    text = f"{encode(as_json({'alg': 'ES256', **header}))}.{encode(as_json(content))}"
    return f"{text}.{encode(jwt.get_algorithm_by_name('ES256').sign(text.encode(), device.key))}"
