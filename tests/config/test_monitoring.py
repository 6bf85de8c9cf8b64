"""The alert rules and the dashboard, with a real Prometheus that watches the site while things go wrong."""

import json
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_urlsafe
from uuid import UUID

import pytest
import requests

from tests.config.prometheus import MISSING, RULES, Prometheus, Scenario, check_rules, find_prometheus
from tests.demo_api.server import DemoApi, Fault
from tests.load.browser import GRACE, Browser
from tests.load.site import Site

pytestmark = pytest.mark.prometheus

TOKEN = "read-the-metrics"
DASHBOARD = RULES.with_name("grafana-dashboard.json")
REFRESH = ("POST", "/auth/refresh")
#: A refresh token that makes the cookie larger than 8 KB.
LARGE_TOKEN_BYTES = 8000
PATIENCE_SECONDS = 20.0
POLL_SECONDS = 0.25
#: Minutes before the first event of a scenario.
QUIET = 30

Samples = dict[str, float]


@dataclass
class Stage:
    """A site with an API and a Prometheus, and what was seen of them."""

    site: Site
    api: DemoApi
    prometheus: Prometheus
    database: Path
    #: Opens page after page while an alert is awaited.
    visitor: Browser | None = None
    #: The alerts that began to fire after each fault.
    fired: dict[str, set[str]] = field(default_factory=dict)
    #: The site's metrics before and after each fault.
    changes: dict[str, tuple[Samples, Samples]] = field(default_factory=dict)

    def browsers(self, count: int) -> list[Browser]:
        browsers = [Browser(self.site.port) for _ in range(count)]
        for browser in browsers:
            browser.sign_in()
        return browsers

    def scrape(self) -> Samples:
        answer = requests.get(f"{self.site.url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30)
        lines = [line.rpartition(" ") for line in answer.text.splitlines() if not line.startswith("#")]
        return {sample: float(value) for sample, _, value in lines}

    def try_fault(self, fault: Callable[["Stage"], None], alerts: set[str]) -> None:
        """Let it happen, and wait until `alerts` fire."""
        before, known = self.scrape(), set[str]().union(*self.fired.values())
        fault(self)
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while not self.prometheus.firing() >= alerts and time.monotonic() < give_up_at:
            time.sleep(POLL_SECONDS)
            if self.visitor is not None:
                self.visitor.open()
        self.fired[fault.__name__] = self.prometheus.firing() - known
        if self.site.workers:
            self.changes[fault.__name__] = before, self.scrape()


def use_as_intended(stage: Stage) -> None:
    """Each thing that the dashboard shows: sign-in, rotation, waiting, a lost response, a stream, sign-out."""
    [browser] = stage.browsers(1)
    old = browser.copy()
    stage.api.expire_access_tokens()
    stage.api.fail(*REFRESH, Fault.delay(0.5))
    for tab in browser.open_tabs(4):
        tab.answer()
    old.open()
    stage.api.expire_access_tokens()
    browser.open("/protected/stream/?rows=1&delay=0")
    browser.sign_out()


def copy_a_cookie(stage: Stage) -> None:
    [browser] = stage.browsers(1)
    thief = browser.copy()
    stage.api.expire_access_tokens()
    browser.open()
    browser.open()
    thief.open()


def refuse_sessions(stage: Stage) -> None:
    browsers = stage.browsers(4)
    stage.api.revoke_all()
    with ThreadPoolExecutor() as pool:
        assert all(answer.signs_out for answer in pool.map(Browser.open, browsers))


def guess_a_password(stage: Stage) -> None:
    browser = Browser(stage.site.port)
    browser.open("/accounts/login/")
    form = {"username": "nobody@example.com", "password": "guess", "csrfmiddlewaretoken": browser.jar.csrf_token}
    for _ in range(11):
        browser.post("/accounts/login/", form)


def refuse_to_store(stage: Stage) -> None:
    """The database fails for one session, at the moment of storing."""
    browser = Browser(stage.site.port)
    browser.sign_in(GRACE)
    with closing(sqlite3.connect(stage.database, isolation_level=None)) as database:
        [newest] = database.execute(
            "SELECT id FROM accounts_sessionrecord ORDER BY signed_in_at DESC LIMIT 1"
        ).fetchone()
        database.execute(
            "CREATE TRIGGER full_disk BEFORE UPDATE OF generation ON accounts_sessionrecord "
            f"WHEN NEW.id = '{UUID(newest).hex}' BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
    stage.api.expire_access_tokens()
    assert browser.open().status == 200


def issue_large_tokens(stage: Stage) -> None:
    browsers = stage.browsers(4)
    stage.api.expire_access_tokens()
    stage.api.fail(*REFRESH, Fault.fields(refreshToken=token_urlsafe(LARGE_TOKEN_BYTES)), times=None)
    for browser in browsers:
        browser.open()
    stage.api.heal()


def break_the_api(stage: Stage) -> None:
    """Only for refreshes and sign-ins: the calls of the pages get their 401."""
    *browsers, stage.visitor = stage.browsers(13)
    stage.api.expire_access_tokens()
    stage.api.fail("POST", "/auth/", Fault.reset(), times=None)
    with ThreadPoolExecutor() as pool:
        assert {answer.status for answer in pool.map(Browser.open, browsers)} == {503}
    before = stage.scrape()
    stage.visitor.open()
    stage.changes["a page while the API is away"] = before, stage.scrape()


def stop_the_site(stage: Stage) -> None:
    stage.visitor = None
    stage.site.stop()


#: In this order. The API stays broken.
FAULTS: dict[Callable[[Stage], None], set[str]] = {
    use_as_intended: set(),
    copy_a_cookie: {"SessionCookieReused"},
    refuse_sessions: {"SessionsRefused"},
    guess_a_password: {"SignInsNotTried"},
    refuse_to_store: {"SessionsNotStored"},
    issue_large_tokens: {"SessionCookiesTooLarge"},
    break_the_api: {"ApiAwayForRefreshes", "ApiCallsFail"},
}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Everything has gone wrong, one thing after the other, but the site still serves."""
    if find_prometheus() is None:
        if os.environ.get("CI"):
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    database = tmp_path_factory.mktemp("site") / "db.sqlite3"
    with DemoApi(access_ttl=3600) as api:
        site = Site(
            database_url=f"sqlite:///{database}",
            api_url=api.url,
            workers=2,
            environment={
                "METRICS_TOKEN": TOKEN,
                "API_SESSION_LEEWAY": "0",
                "SIGN_IN_LIMIT_PER_USER": "1/hour",
                "SIGN_IN_LIMIT_PER_ADDRESS": "",
            },
        )
        site.migrate()
        with site, Prometheus(site.port, TOKEN) as prometheus:
            stage = Stage(site, api, prometheus, database)
            for fault, alerts in FAULTS.items():
                stage.try_fault(fault, alerts)
            yield stage


def test_each_panel_of_the_dashboard_has_data(stage: Stage) -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]

    assert len(queries) > 15
    for query in queries:
        now = query.replace("$__rate_interval", "5m").replace("$__range", "5m")
        assert any(value > 0 for _, value in stage.prometheus.query(now)), query


def test_each_alert_fires_on_its_own_fault(stage: Stage) -> None:
    stage.try_fault(stop_the_site, {"SiteNotScraped"})

    expected = {fault.__name__: alerts for fault, alerts in FAULTS.items()}
    assert stage.fired == {**expected, "stop_the_site": {"SiteNotScraped"}}
    assert set().union(*stage.fired.values()) == set(re.findall(r"alert: (\w+)", RULES.read_text()))


def scenario(
    stage: Stage, what: str, firing: dict[int, set[str]], *, times: int = 1, every: int = 1, share: float = 1.0
) -> Scenario:
    """`what` happens `times` times, every so many minutes. `firing` counts the minutes from the first time.

    `share` is how often it happened when the site counted it.
    """
    before, after = stage.changes[what]

    def values(sample: str) -> str:
        step = (after[sample] - before.get(sample, 0.0)) / share
        first = f"{before[sample]}+0x{QUIET - 1}" if sample in before else f"_x{QUIET}"
        counts = [f"{before.get(sample, 0.0) + step * time}+0x{every - 1}" for time in range(1, times)]
        return " ".join([first, *counts, f"{before.get(sample, 0.0) + step * times}+0x{max(firing)}"])

    rules = RULES.read_text()
    series = {sample: values(sample) for sample in after if sample.partition("{")[0] in rules}
    return Scenario(f"{what}, {times / share:g} times", series, {QUIET + at: names for at, names in firing.items()})


def test_the_rules_suit_a_small_site(stage: Stage, tmp_path: Path) -> None:
    """With their real windows, and what the site itself has counted. An alert may fire a minute after the event."""
    away, large = {"ApiAwayForRefreshes", "ApiCallsFail"}, {"SessionCookiesTooLarge"}
    outage, none = "a page while the API is away", set[str]()
    problems = check_rules(
        tmp_path,
        [
            # A visitor a minute, and the API is away for eleven.
            scenario(stage, outage, {0: none, 6: none, 8: away, 11: away, 20: none}, times=11),
            # A visitor every four minutes, for half an hour.
            scenario(stage, outage, {0: none, 12: none, 14: away, 30: away, 45: none}, times=8, every=4),
            # Four pages in one minute, and then the API is back.
            scenario(stage, outage, {0: none, 3: none, 6: none, 10: none}, share=0.25),
            # The first one ever.
            scenario(
                stage, "copy_a_cookie", {-1: none, 1: {"SessionCookieReused"}, 55: {"SessionCookieReused"}, 65: none}
            ),
            scenario(stage, "refuse_to_store", {-1: none, 1: {"SessionsNotStored"}, 20: none}),
            scenario(stage, "guess_a_password", {-1: none, 1: {"SignInsNotTried"}, 20: none}),
            # One deactivated user; and three users whom the API has forgotten, who come every quarter of an hour.
            scenario(stage, "refuse_sessions", {1: none, 50: none}, share=4),
            scenario(stage, "refuse_sessions", {16: none, 31: {"SessionsRefused"}}, share=4, times=3, every=15),
            # One sign-in a day.
            scenario(stage, "issue_large_tokens", {-1: none, 1: large, 600: large}, share=4),
            *absent_sites(),
        ],
    )

    assert not problems


def absent_sites() -> list[Scenario]:
    """Hosts that do not respond."""
    none, alert = set[str](), {"SiteNotScraped"}
    up, started = 'up{job="site",instance="%s:8000"}', 'api_session_started_total{job="site",instance="%s:8000"}'
    well = {up % "a": "1+0x120", started % "a": "7+0x120"}
    return [
        Scenario("it was never there", {up % "a": "0+0x120"}, {2: none, 4: alert, 120: alert}),
        Scenario(
            "one host of two", {**well, up % "b": "1+0x30 0+0x90", started % "b": "7+0x30 stale"}, {33: none, 35: alert}
        ),
        Scenario(
            "all hosts", {up % "a": "1+0x30 0+0x90", started % "a": "7+0x30 stale"}, {33: none, 35: alert, 90: alert}
        ),
        Scenario(
            "a deployment",
            {up % "a": "1+0x30 0+0x1 1+0x60", started % "a": "7+0x30 stale _x1 0+0x60"},
            {33: none, 40: none},
        ),
        Scenario(
            "a host that was removed", {**well, up % "b": "1+0x30", started % "b": "7+0x30 stale"}, {33: none, 60: none}
        ),
    ]
