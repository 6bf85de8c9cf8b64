"""Scenarios: a network that forgets idle connections between the site and the API."""

import time
from collections import Counter

from tests.demo_api.recorded import RecordedApi
from tests.load.browser import Browser, Tab
from tests.load.figures import Figures
from tests.load.network import ForgetfulNetwork
from tests.load.stage import Act, Stage

#: The site does not use a connection that was idle for longer.
IDLE_SECONDS = 4.0
MARGIN_SECONDS = 0.5
#: More than any of the requests takes on a busy machine.
TIMEOUT_SECONDS = 10.0
TABS = 8
POSTS = 4
CALL = "/protected/api/protected-route"


def idle_connections_forgotten(stage: Stage) -> Figures:
    """Between bursts of requests, the pooled connections die silently, or break at the first byte.

    No request waits for a timeout, and all succeed. A GET also succeeds on a connection that broke before it was idle
    for long. A POST may fail there. No POST reaches the API twice.
    """
    with ForgetfulNetwork(stage.api_port) as network:
        environment = {
            "API_BASE_URL": network.url,
            "API_PROXY_ALLOW": "POST /protected-route",
            "API_READ_TIMEOUT": str(TIMEOUT_SECONDS),
        }
        with stage.another_site(workers=2, environment=environment) as site, Act(stage, [site]) as act:
            browser = act.sign_in()
            act.measure_baseline(browser, TABS)
            _burst(act, browser)

            for how in ("silent", "reset"):
                assert network.forget(how), "the site keeps no connections"
                time.sleep(IDLE_SECONDS + MARGIN_SECONDS)
                _burst(act, browser)
                assert network.lost == 0, "a connection was used that had been idle for long"

            network.forget("reset")
            _burst(act, browser, posted=(201, 503))
            assert network.lost, "no connection was used again"
            act.expire()
            act.expect_alive(browser, generation=1)
            posts = _posts(act.api)
    assert set(posts.values()) == {1}, f"a POST reached the API twice: {posts}"
    return act.figures


def _burst(act: Act, browser: Browser, *, posted: tuple[int, ...] = (201,)) -> None:
    """Pages and a script's POSTs, all at once."""
    pages = browser.open_tabs(TABS)
    posts = [_post(browser) for _ in range(POSTS)]
    answers = [act.expect(tab.answer(), 200) for tab in pages] + [act.expect(tab.answer(), *posted) for tab in posts]
    act.figures.latencies += [answer.seconds for answer in answers]
    assert max(answer.seconds for answer in answers) < TIMEOUT_SECONDS, "a request waited for a timeout"


def _post(browser: Browser) -> Tab:
    """Each with a number of its own, which `_posts` finds again."""
    return browser.run_script(CALL, {"number": browser.requests})


def _posts(api: RecordedApi) -> Counter[bytes]:
    return Counter(call.body for call in api.calls if (call.method, call.path) == ("POST", "/protected-route"))
