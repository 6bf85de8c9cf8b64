"""Scenarios: hosts with other keys, and an API with another clock."""

import time

from tests.demo_api.server import Fault, Gate
from tests.load.figures import Figures
from tests.load.site import KEY
from tests.load.stage import Act, Stage

GATE_SECONDS = 10
CLOCK_SECONDS = 300
ACCESS_SECONDS = 2
TABS = 10
MARGIN_SECONDS = 0.1
#: A device cookie of the host with the new key proves nothing to the one without. So none is renewed meanwhile.
LONG_PROOF = {"API_SESSION_DEVICE_PROOF_SECONDS": "600"}
NEW_KEYS = {"SECRET_KEY": "storm-only-" + "1" * 50, "SECRET_KEY_FALLBACKS": KEY}


def key_rotation_during_a_rotation(stage: Stage) -> Figures:
    """One host has the new key already, the other one not: whatever each can read, neither signs anybody out."""
    with (
        stage.another_site(environment=LONG_PROOF) as old,
        stage.another_site(environment={**LONG_PROOF, **NEW_KEYS}) as new,
        Act(stage, [old, new]) as act,
        Gate() as gate,
    ):
        browser = act.sign_in()
        act.expire()
        act.fail_refresh(Fault.hold_after(gate))
        at_old = browser.open_tab()
        assert gate.reached.wait(GATE_SECONDS)
        at_new = browser.open_tab(port=new.port, receives=False)
        gate.release()
        act.expect_pages([at_old, at_new])

        # The cookie is sealed with the old key, the record with the new one: the old host has to give up for now.
        act.expire()
        act.expect(browser.open_tab(port=new.port, receives=False).answer(), 200)
        act.expect(browser.open(), 503)
        act.expect(browser.open(port=new.port), 200)
        # The cookie is sealed with the new key: to the old host this is a visitor, whose cookie it leaves alone.
        stranger = browser.open()
        assert stranger.signs_out
        assert not stranger.session_cookies
        old.restart(NEW_KEYS)
        act.expire()
        act.expect_alive(browser, generation=3)
    assert act.figures.refreshes == 3
    return act.figures


def api_clock_five_minutes_ahead(stage: Stage) -> Figures:
    """A token's life counts from when it was received; what its `exp` says is of another clock."""
    return _clock(stage, CLOCK_SECONDS)


def api_clock_five_minutes_behind(stage: Stage) -> Figures:
    """The other way round: tokens that seem to live five minutes less."""
    return _clock(stage, -CLOCK_SECONDS)


def _clock(stage: Stage, offset: float) -> Figures:
    with Act(stage, [stage.site], clock_offset=offset, access_ttl=ACCESS_SECONDS) as act:
        browser = act.sign_in()
        act.measure_baseline(browser, TABS)
        for _ in range(stage.scale.rotations):
            time.sleep(ACCESS_SECONDS + MARGIN_SECONDS)
            act.expect_pages(browser.open_tabs(TABS), timed=True)
        # The site knew by itself: it sent no token that had run out, and asked for none too early.
        assert act.api.count("GET", "/protected-route", 401) == 0
        assert act.api.count_refreshes(400) == 0
        act.expire()
        act.expect_alive(browser, generation=stage.scale.rotations + 1)
    assert act.figures.refreshes == act.figures.rotations
    return act.figures
