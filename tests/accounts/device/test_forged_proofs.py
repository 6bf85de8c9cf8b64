"""Forged proofs: each is refused with 4xx, and nothing changes."""

import logging
import time

import pytest

from accounts.models import SessionRecord
from tests.accounts.device.forgeries import ANYWHERE, KEYS, Forgery, rsa_signed
from tests.browsers import Answer, cookies_set
from tests.device_browser import DeviceBrowser, challenge_in
from tests.device_key import PROOF, REGISTRATION, SESSION_ID, Device, read_registration

CHALLENGE_SECONDS = 60
REGISTER, REFRESH = "/accounts/device/register/", "/accounts/device/refresh/"


def sign_in() -> tuple[DeviceBrowser, str]:
    """A browser that has not registered yet, and the challenge of the site."""
    browser = DeviceBrowser()
    browser.registers = False
    path, challenge = read_registration(browser.sign_in().headers[REGISTRATION])
    assert path == REGISTER
    return browser, challenge


def register(browser: DeviceBrowser, proof: str) -> Answer:
    return browser.post_proof(REGISTER, proof)


def refresh(browser: DeviceBrowser, proof: str) -> Answer:
    return browser.post_proof(REFRESH, proof, session_id(browser))


def session_id(browser: DeviceBrowser) -> str:
    assert browser.config is not None
    return str(browser.config["session_identifier"])


def new_challenge(browser: DeviceBrowser) -> str:
    return challenge_in(browser.post_proof(REFRESH, None, session_id(browser)))


def is_refused(answer: Answer) -> bool:
    return 400 <= answer.status_code < 500 and not cookies_set(answer)


def let_challenges_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + CHALLENGE_SECONDS + 5)


def record(browser: DeviceBrowser) -> dict[str, object]:
    (row,) = SessionRecord.objects.filter(pk=browser.session().id).values()
    return dict(row)


@pytest.mark.usefixtures("site")
def test_none_registers_a_key() -> None:
    browser, challenge = sign_in()

    taken = [
        f"{name}: {answer.status_code}"
        for name, forge in {**ANYWHERE, **KEYS}.items()
        if not is_refused(answer := register(browser, forge(browser.device, challenge)))
    ]

    assert not taken
    assert browser.is_signed_in()
    assert register(browser, browser.device.register(challenge)).status_code == 200
    assert browser.is_signed_in()


@pytest.mark.usefixtures("site")
def test_an_rsa_key_of_2048_bits_is_none_of_them() -> None:
    browser, challenge = sign_in()

    assert register(browser, rsa_signed()(browser.device, challenge)).status_code == 200
    assert browser.is_signed_in()


def test_none_renews_the_device_cookie(bound: DeviceBrowser) -> None:
    before = record(bound)
    forgeries: dict[str, Forgery] = {**ANYWHERE, "another key": lambda _, challenge: Device().sign(challenge)}

    taken = [
        f"{name}: {answer.status_code}"
        for name, forge in forgeries.items()
        if not is_refused(answer := refresh(bound, forge(bound.device, new_challenge(bound))))
    ]

    assert not taken
    assert record(bound) == before
    assert bound.is_signed_in()
    assert bound.refresh().status_code == 200


def test_an_expired_challenge_is_not_enough(bound: DeviceBrowser, monkeypatch: pytest.MonkeyPatch) -> None:
    other, challenge = sign_in()
    proof = bound.device.sign(new_challenge(bound))
    let_challenges_expire(monkeypatch)

    assert is_refused(refresh(bound, proof))
    assert is_refused(register(other, other.device.register(challenge)))
    assert bound.refresh().status_code == 200, "the browser gets another one"
    assert bound.is_signed_in()


def test_nor_is_the_challenge_of_another_session(bound: DeviceBrowser) -> None:
    owner, owners = sign_in()

    assert is_refused(refresh(bound, bound.device.sign(owners)))
    assert is_refused(register(owner, owner.device.register(new_challenge(bound))))
    assert owner.is_signed_in()
    assert bound.is_signed_in()


def test_a_key_of_ones_own_does_not_replace_the_registered_one(bound: DeviceBrowser) -> None:
    """With all cookies, and a challenge that the site gave to the thief."""
    thief = DeviceBrowser(bound.take())
    thief.config = bound.config
    before = record(bound)

    challenge = new_challenge(thief)
    assert is_refused(register(thief, thief.device.register(challenge)))
    assert is_refused(refresh(thief, thief.device.register(challenge)))
    assert record(bound) == before
    assert bound.refresh().status_code == 200
    assert bound.is_signed_in()


@pytest.mark.parametrize("named", ['""', "nobody", "x" * 5000, '"\\"', "\xff", "a;b=c", "../..", "0" * 36])
def test_bad_headers_are_refused(bound: DeviceBrowser, named: str) -> None:
    answer = bound.post_proof(REFRESH, None, named)

    assert is_refused(answer)
    assert bound.is_signed_in()


def test_somebody_without_a_session_gets_nothing(bound: DeviceBrowser) -> None:
    stranger = DeviceBrowser()
    proof = bound.device.register("challenge")

    for path in (REGISTER, REFRESH):
        for headers in ({}, {PROOF: proof}, {SESSION_ID: session_id(bound)}):
            answer = stranger.post(path, headers=headers)
            assert answer.status_code < 500
            assert not cookies_set(answer)
        assert stranger.get(path).status_code == 405
    assert bound.is_signed_in()


def test_only_a_refused_proof_is_a_warning_in_the_log(bound: DeviceBrowser, caplog: pytest.LogCaptureFixture) -> None:
    """Each refresh begins with a 403, which is no news."""
    assert bound.refresh().status_code == 200
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]

    assert is_refused(refresh(bound, Device().sign(new_challenge(bound))))
    assert [record.name for record in caplog.records if record.levelno >= logging.WARNING] == ["django.request"]
