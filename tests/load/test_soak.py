"""A short soak test. `make soak` runs it for minutes, and checks the memory, too."""

import pytest

from tests.load.people import SCRIPTS_CALL
from tests.load.sick_api import GATEWAYS_PAGES
from tests.load.soak import soak
from tests.load.stage import Act, Stage

pytestmark = pytest.mark.storm

SECONDS = 4


def test_nobody_is_signed_out_and_nothing_stays_behind_while_workers_are_replaced_and_the_api_is_sick() -> None:
    soak(SECONDS, seed=7, people=4, rounds=2)


def test_a_401_of_the_api_or_its_gateway_is_not_the_end_of_a_session(stage: Stage) -> None:
    with Act(stage, [stage.site]) as act:
        browser = act.sign_in()
        copy = act.follow(browser.copy())
        act.expire()
        act.api.fail("GET", "/protected-route", GATEWAYS_PAGES["a gateway's 401"], times=2)
        passed_on = browser.open(SCRIPTS_CALL, as_script=True)
        assert (passed_on.status, passed_on.signs_out) == (401, False)
        act.expect_alive(browser, generation=1)

        browser.sign_out()
        sites_own = copy.open(SCRIPTS_CALL, as_script=True)
        assert (sites_own.status, sites_own.signs_out) == (401, True)
