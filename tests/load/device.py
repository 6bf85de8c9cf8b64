"""Scenarios: sessions that are bound to the device, and requests that were under way when they were."""

import time

from tests.demo_api.server import Gate
from tests.load.bound_browser import BoundBrowser
from tests.load.browser import ADA, Browser
from tests.load.figures import Figures
from tests.load.lost import SESSION_UPDATE
from tests.load.site import LEEWAY_SECONDS
from tests.load.stage import Act, Stage

PROOF_SECONDS = 2
BROWSERS = 3
TABS = 5
MARGIN_SECONDS = 0.3
SHORT_PROOF = {"API_SESSION_DEVICE_PROOF_SECONDS": str(PROOF_SECONDS)}


def a_device_cookie_of_a_few_seconds(stage: Stage) -> Figures:
    """Device cookies and access tokens run out all the time: the browser holds its requests back, and goes on."""
    # Of six seconds, the browser keeps the cookie for four: on a busy machine a request may be under way for the rest.
    proof = {"API_SESSION_DEVICE_PROOF_SECONDS": "6"}
    with stage.another_site(workers=2, environment=proof) as site, Act(stage, [site], access_ttl=1) as act:
        browsers = [_sign_in(act) for _ in range(BROWSERS)]
        give_up_at = time.monotonic() + stage.scale.seconds
        while time.monotonic() < give_up_at:
            act.expect_pages([tab for browser in browsers for tab in browser.open_tabs(TABS)])
        time.sleep(4 + MARGIN_SECONDS)
        for browser in browsers:
            act.expect_alive(browser)
            assert browser.refreshes > 1
            assert not browser.given_up
    return act.figures


def a_thief_without_the_key(stage: Stage) -> Figures:
    """Copied cookies are served until the device cookie expires. Then they are not, and the session lives on."""
    with stage.another_site(environment=SHORT_PROOF) as site, Act(stage, [site]) as act:
        owner = _sign_in(act)
        act.expect(owner.open(), 200)
        thief = act.follow(owner.copy())
        without = act.follow(_copy_without_proof(owner))
        assert thief.open().status == 200
        assert without.open().status == 403
        time.sleep(PROOF_SECONDS + MARGIN_SECONDS)
        for _ in range(2):
            refused = [thief.open(), thief.open(as_script=True), without.open()]
            assert [answer.status for answer in refused] == [403, 401, 403]
            assert not any(answer.cookies for answer in refused)
            act.expire()
            act.expect_alive(owner)
    return act.figures


def a_rotation_beside_the_registration(stage: Stage) -> Figures:
    """A request that left without the key writes its cookie last: the browser's session stays the bound one."""
    with Act(stage, [stage.site]) as act, Gate() as gate:
        browser = _sign_in(act, registers=False)
        act.expire()
        waiting = act.open_tab_held_after_rotation(browser, gate)
        answer = browser.register()
        assert answer is not None
        assert answer.status == 200
        # The site has seen the device cookie: from now on, the record has the key.
        act.expect(browser.open("/accounts/session/"), 200)
        gate.release()
        act.expect(waiting.answer(), 200)
        _expect_alive_and_bound(act, browser)
    return act.figures


def a_rotation_that_ends_before_the_registration_is_seen(stage: Stage) -> Figures:
    """The same, where nothing came between: the browser goes on, bound or not."""
    with Act(stage, [stage.site]) as act, Gate() as gate:
        browser = _sign_in(act, registers=False)
        act.expire()
        waiting = act.open_tab_held_after_rotation(browser, gate)
        browser.register()
        gate.release()
        act.expect(waiting.answer(), 200)
        _expect_alive_after_the_leeway(act, browser)
    return act.figures


def a_session_update_from_before_the_registration(stage: Stage) -> Figures:
    """It was sealed without the key, and its browser posts it when the session is bound."""
    with Act(stage, [stage.site]) as act:
        browser = _sign_in(act, registers=False)
        act.expire()
        stream = act.expect(browser.open("/protected/stream/?rows=1&delay=0"), 200)
        found = SESSION_UPDATE.search(stream.body)
        assert found is not None
        browser.register()
        act.expect(browser.open("/accounts/session/"), 200)
        answer = browser.post_hand_off(found[1].decode())
        assert answer.status in (204, 400)
        _expect_alive_and_bound(act, browser)
    return act.figures


def a_registration_that_comes_late(stage: Stage) -> Figures:
    """The session has been rotated since the sign-in."""
    with Act(stage, [stage.site]) as act:
        browser = _sign_in(act, registers=False)
        for _ in range(2):
            act.expire()
            act.expect(browser.open(), 200)
        browser.register()
        _expect_alive_and_bound(act, browser)
    return act.figures


def signing_in_again_with_a_new_key(stage: Stage) -> Figures:
    """Browsers keep the older binding beside the newer one, and refresh it first if its id is the lower one."""
    with stage.another_site(environment=SHORT_PROOF) as site, Act(stage, [site]) as act:
        browser = _sign_in(act)
        for _ in range(stage.scale.rotations):
            browser.sign_in()
            browser.wait_until_bound()
            act.expect_alive(browser)
            time.sleep(PROOF_SECONDS + MARGIN_SECONDS)
            act.expect_alive(browser)
            act.expire()
            act.expect_alive(browser)
    return act.figures


def _sign_in(act: Act, *, registers: bool = True) -> BoundBrowser:
    """A browser that binds its session."""
    browser = BoundBrowser(act.ports[0])
    act.follow(browser)
    browser.registers_at_once = registers
    browser.sign_in(ADA)
    browser.wait_until_bound()
    assert bool(browser.sessions) == registers
    return browser


def _expect_alive_and_bound(act: Act, browser: BoundBrowser) -> None:
    """Within the leeway, and after it: over rotations. Without the device cookie, nobody is served."""
    act.expect_alive(browser)
    _expect_alive_after_the_leeway(act, browser)
    without = act.follow(_copy_without_proof(browser))
    assert without.open().status == 403


def _expect_alive_after_the_leeway(act: Act, browser: BoundBrowser) -> None:
    """Over two rotations: the first one may be what a copied cookie is found out by."""
    time.sleep(LEEWAY_SECONDS + MARGIN_SECONDS)
    for _ in range(2):
        act.expire()
        act.expect_alive(browser)


def _copy_without_proof(browser: BoundBrowser) -> Browser:
    copy = browser.copy()
    for session in browser.sessions.values():
        copy.jar.remove(session.cookie)
    return copy
