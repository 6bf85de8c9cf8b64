"""Scenarios: worker processes that die or are suspended in the middle of a rotation."""

import random
import time
from contextlib import suppress
from http.client import HTTPException

from tests.demo_api.server import Fault, Gate
from tests.load.figures import Figures
from tests.load.site import CONNECT_SECONDS, READ_SECONDS
from tests.load.stage import GRACE_SECONDS, Act, Stage

GATE_SECONDS = 10
MARGIN_SECONDS = 0.3
TABS = 5
#: accounts.conf: a little longer than an attempt.
LEASE_SECONDS = (CONNECT_SECONDS + READ_SECONDS) * 1.25 + 2


def worker_killed_after_the_store(stage: Stage) -> Figures:
    """It had rotated, and died before the answer: the record has the new pair, and the API sees no second refresh."""
    with Act(stage, [stage.site]) as act, Gate() as gate:
        browser = act.sign_in()
        act.expire()
        tab = act.open_tab_held_after_rotation(browser, gate)
        stage.site.kill(stage.site.worker_serving(tab.port))
        act.expect_broken(tab)
        act.expect_alive(browser, generation=1)
    assert act.figures.refreshes == 1
    return act.figures


def lease_holder_killed_before_the_api_answered(stage: Stage) -> Figures:
    """Nothing is spent. The others wait for its lease to run out, and one of them goes on."""
    with Act(stage, [stage.site]) as act, Gate() as gate:
        browser = act.sign_in()
        act.expire()
        act.fail_refresh(Fault.hold_before(gate))
        tab = browser.open_tab()
        assert gate.reached.wait(GATE_SECONDS)
        stage.site.kill(stage.site.worker_serving(tab.port))
        act.expect_broken(tab)
        # The request dies with its connection: the API never looks at it.
        act.api.stop_serving()
        act.api.start_serving()
        # Whoever takes over needs time for an attempt of its own, and the others wait for that too.
        act.fail_refresh(Fault.delay(READ_SECONDS / 2))
        act.expect_pages(browser.open_tabs(stage.scale.tabs))
        act.expect_alive(browser, generation=1)
    assert act.figures.refreshes == 1
    return act.figures


def lease_holder_stalled_and_nobody_came(stage: Stage) -> Figures:
    """Suspended beyond its lease, with the API's answer on its way: it brings the only living pair, and stores it."""
    with Act(stage, [stage.site]) as act, Gate() as gate:
        browser = act.sign_in()
        act.expire()
        act.fail_refresh(Fault.hold_after(gate))
        tab = browser.open_tab()
        assert gate.reached.wait(GATE_SECONDS)
        worker = stage.site.worker_serving(tab.port)
        stage.site.suspend(worker)
        gate.release()
        time.sleep(LEASE_SECONDS + MARGIN_SECONDS)
        stage.site.resume(worker)
        act.expect(tab.answer(), 200, 503)
        act.expect_alive(browser, generation=1)
    assert act.figures.refreshes == 1
    return act.figures


def lease_holder_stalled_and_another_rotated(stage: Stage) -> Figures:
    """Under the API's grace another worker got there first: the one that comes back adopts what that one stored."""
    with Act(stage, [stage.site], grace_seconds=GRACE_SECONDS) as act, Gate() as gate:
        browser = act.sign_in()
        before = act.follow(browser.copy())
        act.expire()
        act.fail_refresh(Fault.hold_after(gate))
        tab = browser.open_tab(receives=False)
        assert gate.reached.wait(GATE_SECONDS)
        worker = stage.site.worker_serving(tab.port)
        stage.site.suspend(worker)
        gate.release()
        time.sleep(LEASE_SECONDS + MARGIN_SECONDS)
        act.expect_alive(before, generation=1)
        stage.site.resume(worker)
        act.expect(tab.answer(), 200, 503)
        act.expect_alive(browser, generation=1)
    assert act.figures.refreshes == 2
    return act.figures


def workers_killed_at_random(stage: Stage) -> Figures:
    """Under the API's grace there is no moment at which a dying worker takes a session with it."""
    site = stage.lenient_site
    with Act(stage, [site], grace_seconds=GRACE_SECONDS) as act:
        browsers = [act.sign_in() for _ in range(4)]
        act.measure_baseline(browsers[0], TABS)
        give_up_at = time.monotonic() + stage.scale.seconds
        while time.monotonic() < give_up_at:
            act.expire()
            tabs = [tab for browser in browsers for tab in browser.open_tabs(TABS)]
            time.sleep(random.uniform(0, 0.1))
            site.kill(random.choice(site.workers))
            for tab in tabs:
                with suppress(OSError, HTTPException):
                    # 502: `expire` met a pair that only the API knew of, as its worker was killed before the store.
                    act.figures.latencies.append(act.expect(tab.answer(), 200, 502, 503).seconds)
        for browser in browsers:
            act.expect_alive(browser)
    return act.figures
