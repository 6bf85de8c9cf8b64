"""Scenarios: copied cookies. One that is too old ends the session for everybody who has it."""

import re
import time

from tests.load.browser import Browser
from tests.load.figures import Figures
from tests.load.site import LEEWAY_SECONDS
from tests.load.stage import Act, Stage

MARGIN_SECONDS = 0.3
SESSION = "/accounts/session/"


def replayed_cookie_after_the_leeway(stage: Stage) -> Figures:
    """An old cookie, after a newer one was confirmed and the leeway has passed, ends the session for both."""
    with Act(stage, [stage.site]) as act:
        owner = act.sign_in()
        thief = act.follow(owner.copy())
        _rotate_and_confirm(act, owner)
        _pass_leeway()
        act.expire()
        act.expect_signed_out(thief)
        act.expect_signed_out(owner)
        noted = r"an old cookie was used again \(user_id=\S+ generation=0 address=127\.0\.0\.1 "
        assert re.search(noted, stage.site.log)
        # The API forgets the pair, too.
        assert act.api.count(*act.api.revoke_call) == 1
    return act.figures


def replayed_cookie_within_the_leeway(stage: Stage) -> Figures:
    """Within the leeway it may be a request of the owner's that was under way: nobody is signed out."""
    with Act(stage, [stage.site]) as act:
        owner = act.sign_in()
        late = act.follow(owner.copy())
        _rotate_and_confirm(act, owner)
        act.expect(late.open(), 200)
        act.expect_alive(owner, generation=1)
        _pass_leeway()
        act.expire()
        act.expect_alive(owner, generation=2)
    return act.figures


def thief_first_owner_second(stage: Stage) -> Figures:
    """The thief rotates. The owner gets in as long as that may be a lost answer; later the session ends for both."""
    with Act(stage, [stage.site]) as act:
        owner = act.sign_in()
        thief = act.follow(owner.copy())
        act.expire()
        assert thief.open().status == 200
        # Nobody has been seen with the new generation: to the site, the owner missed an answer.
        act.expect(owner.open(), 200)

        other_owner = act.sign_in()
        other_thief = act.follow(other_owner.copy())
        act.expire()
        assert [other_thief.open().status for _ in range(2)] == [200, 200]
        _pass_leeway()
        act.expire()
        act.expect_signed_out(other_owner)
        act.expect_signed_out(other_thief)
    return act.figures


def old_generation_in_a_later_leeway(stage: Stage) -> Figures:
    """The leeway that a newer confirmation opens is not for generations retired long ago."""
    with Act(stage, [stage.site]) as act:
        owner = act.sign_in()
        thief = act.follow(owner.copy())
        _rotate_and_confirm(act, owner)
        previous = act.follow(owner.copy())
        _pass_leeway()
        _rotate_and_confirm(act, owner)
        act.expect(previous.open(), 200)
        act.expect_signed_out(thief)
        # An API may go on taking the access token of a pair that was revoked.
        act.expire()
        act.expect_signed_out(owner)
    return act.figures


def old_unconfirmed_cookie_on_a_page_without_api(stage: Stage) -> Figures:
    """A retired cookie that says `unconfirmed` is found out also where nothing has to be rotated."""
    with Act(stage, [stage.site]) as act:
        owner = act.sign_in()
        act.expire()
        act.expect(owner.open(), 200)
        thief = act.follow(owner.copy())
        _rotate_and_confirm(act, owner)
        _pass_leeway()
        assert thief.open(SESSION).json()["authenticated"] is False
        act.expire()
        act.expect_signed_out(owner)
    return act.figures


def _rotate_and_confirm(act: Act, browser: Browser) -> None:
    """The next generation, and a request with its cookie."""
    act.expire()
    act.expect(browser.open(), 200)
    act.expect(browser.open(), 200)


def _pass_leeway() -> None:
    time.sleep(LEEWAY_SECONDS + MARGIN_SECONDS)
