"""Scenarios: an API that spells its success in another way, and a gateway in front of it that answers in JSON."""

import time

from tests.demo_api.gateway import GATEWAYS, Gateway
from tests.demo_api.server import Fault
from tests.load.figures import Figures
from tests.load.stage import Act, Stage

TABS = 5
ACCESS_SECONDS = 1.0
MARGIN_SECONDS = 0.1

#: What a refusal looks like at an API of this kind. At a provider no gateway says `invalid_grant`.
_SEEN = {
    "token-pair": (
        "404 without a route",
        "404 with the path in its message",
        "401",
        "401 with a request id in its message",
    ),
    "simplejwt": ("401", "401 as Django REST framework's"),
    "oauth2": ("404 with a request id", "401"),
    "oidc-provider": ("404 with a request id", "401"),
}


def a_gateways_json(stage: Stage) -> Figures:
    """A gateway answers every call with the status and the JSON of a refusal. Access tokens expire meanwhile.

    Nobody is signed out, no refresh token is spent, and all users go on when the gateway finds the API again.
    """
    gateways = [GATEWAYS[name] for name in _SEEN[stage.kind]]
    with Act(stage, [stage.site], access_ttl=ACCESS_SECONDS) as act:
        browsers = [act.sign_in() for _ in range(4)]
        for gateway in gateways:
            time.sleep(ACCESS_SECONDS + MARGIN_SECONDS)
            spent = sum(act.api.refresh_spends.values())
            with act.api.behind_gateway(gateway):
                give_up_at = time.monotonic() + stage.scale.seconds / len(gateways)
                while time.monotonic() < give_up_at:
                    for tab in [tab for browser in browsers for tab in browser.open_tabs(TABS)]:
                        act.expect(tab.answer(), 502, 503)
            assert _refreshes_met(act, gateway) >= len(browsers), "not every session met the gateway at a refresh"
            assert sum(act.api.refresh_spends.values()) == spent
            for browser in browsers:
                act.expect_alive(browser)
    return act.figures


def a_gateway_that_comes_and_goes(stage: Stage) -> Figures:
    """One refresh gets a gateway's JSON, and the API itself answers the next call, whichever that is."""
    with Act(stage, [stage.site]) as act:
        browser = act.sign_in()
        for name in _SEEN[stage.kind]:
            act.expire()
            act.fail_refresh(Fault.gateway(GATEWAYS[name]))
            for tab in browser.open_tabs(TABS):
                act.expect(tab.answer(), 200, 503)
            act.expect_alive(browser)
        act.expect_alive(browser, generation=len(_SEEN[stage.kind]))
    assert act.figures.refreshes == act.figures.rotations
    return act.figures


def a_success_that_is_created(stage: Stage) -> Figures:
    """Sign-in and refresh answer 201. The old refresh token is spent, so the new pair must not be dropped."""
    with Act(stage, [stage.site]) as act:
        for method, path in {act.api.sign_in_call, act.api.refresh_call}:
            act.api.fail(method, path, Fault.success_status(201), times=None)
        browser = act.sign_in()
        act.measure_baseline(browser, stage.scale.tabs)
        for _ in range(stage.scale.rotations):
            act.expire()
            act.expect_pages(browser.open_tabs(stage.scale.tabs), timed=True)
        act.expect_alive(browser, generation=stage.scale.rotations)
    assert act.figures.refreshes == act.figures.rotations
    return act.figures


def _refreshes_met(act: Act, gateway: Gateway) -> int:
    return sum(
        act.api.is_refresh(call) and call.fault == "gateway" and call.status == gateway.status for call in act.api.calls
    )
