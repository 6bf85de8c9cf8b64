"""Scenarios: answers that get lost, come in the wrong order, or belong to a request that ran for long."""

import re
import time

from tests.demo_api.server import Fault, Gate
from tests.load.figures import Figures
from tests.load.site import LEEWAY_SECONDS
from tests.load.stage import GRACE_SECONDS, Act, Stage

GATE_SECONDS = 10
MARGIN_SECONDS = 0.3
LOSSES = 5
SESSION_UPDATE = re.compile(rb'<session-update session="([^"]+)"')


def five_lost_answers_in_a_row(stage: Stage) -> Figures:
    """A browser that missed five rotations is still signed in, at once and after the leeway."""
    with Act(stage, [stage.site]) as act:
        browser = act.sign_in()
        for _ in range(LOSSES):
            act.expire()
            browser.lose_answer()
        act.expect_alive(browser, generation=LOSSES)
        for _ in range(LOSSES):
            act.expire()
            browser.lose_answer()
        time.sleep(LEEWAY_SECONDS + MARGIN_SECONDS)
        act.expire()
        act.expect_alive(browser, generation=2 * LOSSES + 1)
    assert act.figures.refreshes == 2 * LOSSES + 1
    return act.figures


def answers_in_the_wrong_order(stage: Stage) -> Figures:
    """An older generation's answer arrives after a newer one's, before and after the browser was seen with that."""
    with Act(stage, [stage.site]) as act:
        browser = act.sign_in()
        for seen_with_newer in (False, True):
            act.expire()
            older = act.expect(browser.open_tab(receives=False).answer(), 200)
            act.expire()
            newer = act.expect(browser.open_tab(receives=False).answer(), 200)
            browser.receive(newer)
            if seen_with_newer:
                act.expect(browser.open(), 200)
            browser.receive(older)
            # Within the leeway: an answer does not stay on its way for longer.
            act.expect_alive(browser)
            time.sleep(LEEWAY_SECONDS + MARGIN_SECONDS)
            act.expire()
            act.expect_alive(browser)
        assert act.generation(browser) == 6
    return act.figures


def an_answer_overtaken_at_the_site(stage: Stage) -> Figures:
    """It rotated, and waited for its page while others rotated again and were confirmed: it brings the newest."""
    with Act(stage, [stage.site]) as act, Gate() as gate:
        browser = act.sign_in()
        act.expire()
        overtaken = act.open_tab_held_after_rotation(browser, gate)
        act.expire()
        act.expect_alive(browser, generation=2)
        gate.release()
        act.expect(overtaken.answer(), 200)
        time.sleep(LEEWAY_SECONDS + MARGIN_SECONDS)
        act.expire()
        act.expect_alive(browser, generation=3)
    return act.figures


def confirmations_in_the_wrong_order(stage: Stage) -> Figures:
    """Many tabs with a cookie that nobody has confirmed yet, whose answers come back in any order."""
    with Act(stage, [stage.site]) as act:
        browser = act.sign_in()
        for _ in range(stage.scale.rotations):
            act.expire()
            act.expect(browser.open(), 200)
            tabs = [browser.open_tab(receives=False) for _ in range(stage.scale.tabs)]
            for answer in reversed(act.expect_pages(tabs)):
                browser.receive(answer)
        time.sleep(LEEWAY_SECONDS + MARGIN_SECONDS)
        act.expect_alive(browser, generation=stage.scale.rotations)
    return act.figures


def a_hand_off_that_comes_late(stage: Stage) -> Figures:
    """A stream rotates in mid-body. What it hands over is posted when the session has moved on: nothing goes back."""
    with Act(stage, [stage.site]) as act, Gate() as gate:
        browser = act.sign_in()
        act.api.fail("GET", "/protected-route", Fault.delay(0))
        act.api.fail("GET", "/protected-route", Fault.hold_before(gate))
        stream = browser.open_tab("/protected/stream/?rows=2&delay=0", receives=False)
        assert gate.reached.wait(GATE_SECONDS)
        # Its headers have left, and the row before this one.
        act.expire()
        gate.release()
        found = SESSION_UPDATE.search(act.expect(stream.answer(), 200).body)
        assert found, "the body hands nothing over"
        session_update = found[1].decode()
        act.expire()
        browser.lose_answer()

        # The browser still has the cookie of before: it gets the newest session, and not the one that it posts.
        assert browser.post_hand_off(session_update).status == 204
        act.expect_alive(browser, generation=2)
        again = browser.post_hand_off(session_update)
        assert again.status == 400
        assert not again.session_cookies
        act.expire()
        act.expect_alive(browser, generation=3)
    assert act.figures.refreshes == 3
    return act.figures


def answer_lost_after_the_api_committed(stage: Stage) -> Figures:
    """Without a grace period at the API this may cost the session: the window that cannot be closed from here.

    The strict API then sees its token twice, as nobody knows that it was spent.
    """
    with Act(stage, [stage.site], may_reuse=True) as act:
        browser = act.sign_in()
        act.expire()
        act.fail_refresh(Fault.lose_answer())
        act.expect(browser.open(), 503)
        # The pause after a failure: nobody claims before it is over.
        time.sleep(1 + MARGIN_SECONDS)
        act.figures.in_window += browser.open().signs_out
    return act.figures


def answer_lost_under_the_apis_grace(stage: Stage) -> Figures:
    """With a grace period, and a dialect that says so, the same token is sent again and nobody notices."""
    with Act(stage, [stage.lenient_site], grace_seconds=GRACE_SECONDS) as act:
        browser = act.sign_in()
        act.measure_baseline(browser, stage.scale.tabs)
        for number in range(stage.scale.rotations):
            act.expire()
            act.fail_refresh(Fault.lose_answer())
            act.expect_pages(browser.open_tabs(stage.scale.tabs), timed=True)
            act.expect_alive(browser, generation=number + 1)
    assert act.figures.refreshes == 2 * act.figures.rotations
    return act.figures


def a_request_that_arrived_before_a_confirmation(stage: Stage) -> Figures:
    """It rotates long after the leeway of its generation is over; it is a straggler all the same, and no thief."""
    leeway = 1.0
    patient = {"API_SESSION_LEEWAY": str(leeway), "API_READ_TIMEOUT": "15"}
    with stage.another_site(environment=patient) as site, Act(stage, [site]) as act, Gate() as gate:
        browser = act.sign_in()
        act.api.fail("GET", "/protected-route", Fault.hold_before(gate))
        straggler = browser.open_tab()
        assert gate.reached.wait(GATE_SECONDS)
        act.expire()
        act.expect_alive(browser, generation=1)
        time.sleep(leeway + MARGIN_SECONDS)

        gate.release()
        act.expect(straggler.answer(), 200)
        act.expect_alive(browser, generation=1)
    return act.figures
