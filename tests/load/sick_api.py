"""Scenarios: an API, or a gateway in front of it, on a bad day. Only its own clear refusal ends a session."""

import itertools
import time
from collections.abc import Mapping

from tests.demo_api.server import Fault, Gate
from tests.load.figures import Figures
from tests.load.site import CONNECT_SECONDS, READ_SECONDS
from tests.load.stage import GRACE_SECONDS, Act, Stage

ATTEMPT_SECONDS = CONNECT_SECONDS + READ_SECONDS
LEASE_SECONDS = ATTEMPT_SECONDS * 1.25 + 2
#: For a busy machine.
MARGIN_SECONDS = 1.0
TABS = 5
PAUSE_SECONDS = 0.5

#: What may come in place of an answer to a refresh, without anything being spent.
BAD_ANSWERS = {
    "500": Fault.answer(500, b"Internal Server Error", "text/plain"),
    "503": Fault.answer(503, {"message": "Down for maintenance."}),
    "429": Fault.answer(429, {"message": "Too many requests."}, headers={"Retry-After": "2"}),
    "reset": Fault.reset(),
    "HTML": Fault.answer(200, b"<h1>Welcome to the airport's network</h1>", "text/html"),
    "wrong JSON": Fault.answer(200, {"token": "of a kind that nobody knows"}),
    "redirect": Fault.answer(302, headers={"Location": "/somewhere/else"}),
}
#: The statuses of refusals: of the demo API's, SimpleJWT's and OAuth's, and one that a provider has of its own.
GATEWAYS_PAGES = {
    "a gateway's 400": Fault.answer(400, b"<h1>400 Bad Request</h1>", "text/html"),
    "a gateway's 401": Fault.answer(401, b"<h1>401 Authorization Required</h1>", "text/html"),
    "a gateway's 403": Fault.answer(403, b"<h1>403 Forbidden</h1>", "text/html"),
    "a gateway's 404": Fault.answer(404, b"<h1>404 Not Found</h1>", "text/html"),
}
_OF_CLIENTS = {
    "invalid_client": Fault.answer(401, {"error": "invalid_client"}),
    "invalid_request": Fault.answer(400, {"error": "invalid_request"}),
}
#: What an API of each kind says itself, with the status of a refusal, about something else than the refresh token.
NO_REFUSALS = {
    "token-pair": {"403": Fault.answer(403, {"message": "This address is blocked."})},
    "simplejwt": {"another code": Fault.answer(401, {"detail": "A header is missing.", "code": "no_such_header"})},
    "oauth2": _OF_CLIENTS,
    "oidc-provider": _OF_CLIENTS,
}


def a_gateways_error_pages(stage: Stage) -> Figures:
    """HTML with the status of a refusal is none: the API has not spoken."""
    return _one_bad_answer_each(stage, GATEWAYS_PAGES)


def one_bad_answer_of_each_kind(stage: Stage) -> Figures:
    """All tabs are told to come back, the API is asked once, and then all is well."""
    return _one_bad_answer_each(stage, {**BAD_ANSWERS, **NO_REFUSALS[stage.kind]})


def a_timeout(stage: Stage) -> Figures:
    """An API that does not answer at all: those who wait for it fail together, in time."""
    with Act(stage, [stage.site]) as act, Gate() as gate:
        browser = act.sign_in()
        act.expire()
        act.fail_refresh(Fault.hold_before(gate))
        for tab in browser.open_tabs(TABS):
            answer = act.expect(tab.answer(), 503)
            assert answer.seconds < ATTEMPT_SECONDS + MARGIN_SECONDS
        # The request that it never looked at dies with it.
        act.api.stop_serving()
        act.api.start_serving()
        act.expect_alive(browser, generation=1)
    assert act.figures.refreshes == 1
    return act.figures


def sick_under_load(stage: Stage) -> Figures:
    """Every kind of bad answer in turn, to refreshes and to ordinary calls, with tabs opening all the time."""
    with Act(stage, [stage.site]) as act, Gate(give_up_after=10 * stage.scale.seconds) as gate:
        browsers = [act.sign_in() for _ in range(4)]
        act.measure_baseline(browsers[0], stage.scale.tabs)
        kinds = itertools.cycle([*BAD_ANSWERS.values(), *GATEWAYS_PAGES.values(), Fault.hold_before(gate)])
        give_up_at = time.monotonic() + stage.scale.seconds
        while time.monotonic() < give_up_at:
            kind = next(kinds)
            act.expire()
            act.api.heal()
            act.fail_refresh(kind, times=None)
            act.api.fail("GET", "/protected-route", kind, times=1)
            for tab in [tab for browser in browsers for tab in browser.open_tabs(TABS)]:
                answer = act.expect(tab.answer(), 200, 502, 503)
                act.figures.latencies.append(answer.seconds)
                assert answer.seconds < LEASE_SECONDS + ATTEMPT_SECONDS + MARGIN_SECONDS
            time.sleep(PAUSE_SECONDS)
        act.api.stop_serving()
        act.api.heal()
        act.api.start_serving()
        for browser in browsers:
            act.expect_alive(browser)
    assert act.figures.refreshes == act.figures.rotations
    return act.figures


def a_dribbled_refresh(stage: Stage) -> Figures:
    """Byte by byte: in time, it is an answer like any other; beyond the attempt's deadline, it is none."""
    with Act(stage, [stage.lenient_site], grace_seconds=GRACE_SECONDS) as act:
        browser = act.sign_in()
        act.expire()
        act.fail_refresh(Fault.dribble(0.0005))
        act.expect_pages(browser.open_tabs(TABS))
        act.expect_alive(browser, generation=1)
        act.expire()
        act.fail_refresh(Fault.dribble(0.1))
        for answer in act.expect_pages(browser.open_tabs(TABS)):
            assert answer.seconds < LEASE_SECONDS + ATTEMPT_SECONDS + MARGIN_SECONDS
        act.expect_alive(browser, generation=2)
    assert act.figures.refreshes == 3
    return act.figures


def a_dribbled_page(stage: Stage) -> Figures:
    """An ordinary call's answer that comes byte by byte keeps nobody waiting for longer than the timeouts, either."""
    with Act(stage, [stage.site]) as act:
        browser = act.sign_in()
        act.api.fail("GET", "/protected-route", Fault.dribble(0.01))
        answer = act.expect(browser.open(), 200, 503)
        assert answer.seconds < LEASE_SECONDS + ATTEMPT_SECONDS + MARGIN_SECONDS, f"{answer.seconds:.0f} s for a page"
        act.expect_alive(browser, generation=0)
    return act.figures


def _one_bad_answer_each(stage: Stage, kinds: Mapping[str, Fault]) -> Figures:
    """Each to a browser of its own, whose pause after the failure passes while the others are at it."""
    with Act(stage, [stage.site]) as act:
        browsers = {kind: act.sign_in() for kind in kinds}
        act.expire()
        for kind, browser in browsers.items():
            asked = act.api.count_refreshes()
            act.fail_refresh(kinds[kind])
            for tab in browser.open_tabs(TABS):
                answer = act.expect(tab.answer(), 503)
                assert int(answer.header("Retry-After")) >= 1, kind
            assert act.api.count_refreshes() == asked + 1, f"{kind}: asked again at once"
        for browser in browsers.values():
            act.expect_alive(browser, generation=1)
    assert act.figures.refreshes == len(kinds)
    return act.figures
