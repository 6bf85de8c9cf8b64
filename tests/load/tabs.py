"""Scenarios: many requests of one user at once."""

import time

from tests.demo_api.server import Fault, Gate
from tests.load.browser import GRACE
from tests.load.figures import Figures
from tests.load.site import LEEWAY_SECONDS, Site
from tests.load.stage import Act, Stage

GATE_SECONDS = 10
MARGIN_SECONDS = 0.3


def tabs_at_the_moment_of_expiry(stage: Stage) -> Figures:
    """However many tabs ask at once, each rotation costs the API one refresh."""
    return _tabs_at_expiry(stage, [stage.site])


def tabs_over_two_sites(stage: Stage) -> Figures:
    """The same over two hosts that share nothing but a database."""
    return _tabs_at_expiry(stage, stage.two_sites)


def access_token_of_one_second(stage: Stage) -> Figures:
    """Tokens that run out by the clock, while requests are on their way."""
    with Act(stage, [stage.site], access_ttl=1) as act:
        browser = act.sign_in()
        # At most a second old: these need no refresh.
        act.measure_baseline(browser, 5)
        give_up_at = time.monotonic() + stage.scale.seconds
        while time.monotonic() < give_up_at:
            act.expect_pages(browser.open_tabs(5), timed=True)
        act.expect_alive(browser)
    assert act.figures.refreshes == act.figures.rotations
    return act.figures


def two_devices_of_one_user(stage: Stage) -> Figures:
    """Two sign-ins of one user have nothing to do with each other, not even the sign-out of one."""
    with Act(stage, [stage.site]) as act:
        laptop, phone = act.sign_in(), act.sign_in()
        act.measure_baseline(laptop, stage.scale.tabs // 2)
        for _ in range(stage.scale.rotations):
            act.expire()
            half = stage.scale.tabs // 2
            act.expect_pages([*laptop.open_tabs(half), *phone.open_tabs(half)], timed=True)
        act.expect_alive(laptop, generation=stage.scale.rotations)
        laptop.sign_out()
        act.expect_signed_out(laptop)
        act.expire()
        act.expect_alive(phone, generation=stage.scale.rotations + 1)
    assert act.figures.refreshes == act.figures.rotations
    return act.figures


def signing_in_again_while_old_answers_are_under_way(stage: Stage) -> Figures:
    """Late answers of the session before, whatever they carry, leave the new one alone."""
    return _sign_in_again(stage, pages_within_leeway=1)


def signing_in_again_and_then_nothing_for_long(stage: Stage) -> Figures:
    """The same, where the next request comes after the leeway."""
    return _sign_in_again(stage, pages_within_leeway=0)


def sign_out_during_a_rotation(stage: Stage) -> Figures:
    """The session stays out, and the pair that was minted meanwhile is revoked at the API."""
    with Act(stage, [stage.site]) as act, Gate() as gate, Gate() as page_gate:
        browser = act.sign_in()
        act.expire()
        # This one has rotated already, and its answer is late.
        waiting = act.open_tab_held_after_rotation(browser, page_gate)
        before = act.follow(browser.copy())
        act.expire()
        act.fail_refresh(Fault.hold_after(gate))
        rotating = browser.open_tab()
        assert gate.reached.wait(GATE_SECONDS)
        # At a provider a page leads on to its own sign-out.
        assert browser.sign_out().status in (200, 302)
        assert not browser.jar.value("session")

        revoked = act.api.count(*act.api.revoke_call)
        gate.release()
        late = rotating.answer()
        assert late.signs_out
        assert not late.session_cookies, "it arrived before the sign-out: a newer sign-in may be there by now"
        assert act.api.count(*act.api.revoke_call) == revoked + 1
        page_gate.release()
        assert not waiting.answer().session_cookies, "an answer that was late undid the sign-out"
        act.expect_signed_out(browser)
        act.expect_signed_out(before)
    return act.figures


def _tabs_at_expiry(stage: Stage, sites: list[Site]) -> Figures:
    with Act(stage, sites) as act:
        browser = act.sign_in()
        act.measure_baseline(browser, stage.scale.tabs)
        for _ in range(stage.scale.rotations):
            act.expire()
            act.expect_pages(browser.open_tabs(stage.scale.tabs, ports=act.ports), timed=True)
        act.expect_alive(browser, generation=stage.scale.rotations)
    assert act.figures.refreshes == act.figures.rotations
    return act.figures


def _sign_in_again(stage: Stage, *, pages_within_leeway: int) -> Figures:
    with Act(stage, [stage.site]) as act, Gate() as gate:
        browser = act.sign_in()
        act.expire()
        # This one has rotated, and still waits for its page.
        waiting = act.open_tab_held_after_rotation(browser, gate)
        act.expire()
        # This one has left the site with the old session's next generation, and is slow on its way.
        on_its_way = browser.open_tab(receives=False).answer()
        browser.sign_in(GRACE)

        gate.release()
        late = waiting.answer()
        assert not late.session_cookies, "an answer of the replaced session touched the cookie"
        act.expect_alive(browser, generation=0)
        browser.receive(on_its_way)
        for _ in range(pages_within_leeway):
            act.expect(browser.open(), 200)
        # After the leeway nothing is left of what kept the two apart while answers were on their way.
        time.sleep(LEEWAY_SECONDS + MARGIN_SECONDS)
        act.expect_alive(browser, generation=0)
        user = browser.open("/accounts/session/").json()["user"]
        assert GRACE in (user["name"], user["email"])
    return act.figures
