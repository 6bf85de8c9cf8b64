"""/metrics: who may read it, that it tells what happened, and that it tells it of all workers."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import Settings

from accounts.models import EndReason, Trigger
from accounts.session.sealing import key_ids
from accounts.upstream.response import MAX_ANSWER_BYTES
from tests.browsers import Answer, Browser
from tests.demo_api.server import DemoApi, Fault
from tests.load.browser import Browser as RemoteBrowser
from tests.load.site import Site

TOKEN = "read-the-metrics"
FOLLOWERS = "api_session_follower_wait_seconds_count"
KNOWS_TOKEN = {"Authorization": f"Bearer {TOKEN}"}
MONITORING = Path(__file__).resolve().parents[2] / "config/monitoring"

Counts = dict[tuple[str, ...], float]


def read(text: str) -> Counts:
    """Each sample by its name and its labels' values."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def metered(settings: Settings) -> None:
    settings.METRICS_TOKEN = TOKEN


class Meter:
    """What was counted since it was made."""

    def __init__(self) -> None:
        self._before = read(scrape().text)

    def counted(self, *sample: str) -> float:
        return read(scrape().text).get(sample, 0.0) - self._before.get(sample, 0.0)


def scrape(**headers: str) -> Answer:
    return Browser().get("/metrics", headers=headers or KNOWS_TOKEN)


class TestWhoMayRead:
    def test_nobody_unless_it_is_switched_on(self) -> None:
        assert scrape().status_code == 404
        assert scrape(Authorization="Bearer ").status_code == 404

    @pytest.mark.parametrize("given", ["", "Bearer", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \xe9"])
    def test_nobody_without_the_token(self, given: str, metered: None) -> None:
        assert scrape(Authorization=given).status_code == 404

    def test_whoever_knows_the_token(self, metered: None) -> None:
        answer = scrape()

        assert answer.status_code == 200
        assert answer["Content-Type"].startswith("text/plain")
        assert answer["Cache-Control"] == "no-store"

    def test_whoever_comes_from_an_allowed_network(self, settings: Settings) -> None:
        settings.METRICS_ALLOW = ["10.0.0.0/8", "::1"]

        for address, status in (("10.1.2.3", 200), ("::1", 200), ("11.1.2.3", 404), ("", 404)):
            assert Browser().get("/metrics", REMOTE_ADDR=address).status_code == status, address

    def test_nobody_who_only_says_so(self, settings: Settings) -> None:
        settings.METRICS_ALLOW = ["10.0.0.0/8"]

        assert Browser().get("/metrics", headers={"X-Forwarded-For": "10.1.2.3"}).status_code == 404

    def test_whatever_host_it_asks_for(self, metered: None) -> None:
        assert scrape(**KNOWS_TOKEN, Host="10.0.0.7:8000").status_code == 200


@pytest.mark.usefixtures("metered")
class TestWhatIsCounted:
    def test_nothing_while_it_is_switched_off(self, signed_in: Browser, settings: Settings) -> None:
        meter = Meter()
        settings.METRICS_TOKEN = ""
        signed_in.open_page()
        settings.METRICS_TOKEN = TOKEN

        assert meter.counted("api_call_seconds_count", "2xx") == 0

    def test_a_sign_in_its_cookie_a_call_and_a_sign_out(self, browser: Browser) -> None:
        meter = Meter()

        browser.sign_in()
        browser.open_page()
        browser.sign_out()

        assert meter.counted("api_session_started_total") == 1
        assert meter.counted("api_session_cookie_bytes_count") == 1
        assert meter.counted("api_session_cookie_bytes_sum") > 500
        assert meter.counted("api_session_cookies_opened_total", key_ids()[0]) == 2
        assert meter.counted("api_call_seconds_count", "2xx") == 1
        assert meter.counted("api_session_ended_total", "signed-out") == 1

    def test_a_rotation_and_a_lost_answer(self, signed_in: Browser, api: DemoApi) -> None:
        meter, before = Meter(), signed_in.take()
        api.expire_access_tokens()

        signed_in.open_page()
        signed_in.put(before)
        signed_in.open_page()

        assert meter.counted("api_session_rotations_total", "rotated", "401") == 1
        assert meter.counted("api_session_refresh_seconds_count", "rotated") == 1
        assert meter.counted("api_session_rotations_total", "adopted", "none") == 1
        assert meter.counted("api_call_seconds_count", "4xx") == 2

    def test_a_sick_api(self, signed_in: Browser, api: DemoApi) -> None:
        meter = Meter()
        api.fail("GET", "/protected-route", Fault.answer(500))
        signed_in.open_page()
        api.fail("GET", "/protected-route", Fault.reset(), times=2)
        signed_in.open_page()
        api.expire_access_tokens()
        api.fail("POST", "/auth/refresh", Fault.answer(503))
        signed_in.open_page()

        assert meter.counted("api_call_seconds_count", "5xx") == 1
        assert meter.counted("api_call_seconds_count", "none") == 2
        assert meter.counted("api_token_call_seconds_count", "5xx") == 1
        assert meter.counted("api_session_rotations_total", "api-away", "401") == 1

    def test_sign_ins_while_the_api_is_away_and_a_status_that_does_not_exist(
        self, browser: Browser, api: DemoApi
    ) -> None:
        meter = Meter()
        api.fail("POST", "/auth/login", Fault.reset())
        api.fail("POST", "/auth/login", Fault.answer(999))
        browser.sign_in()
        browser.sign_in()

        assert meter.counted("api_token_call_seconds_count", "none") == 1
        assert meter.counted("api_token_call_seconds_count", "5xx") == 1

    def test_an_answer_that_is_too_large(self, signed_in: Browser, api: DemoApi) -> None:
        meter = Meter()
        api.fail("GET", "/protected-route", Fault.answer(200, bytes(MAX_ANSWER_BYTES + 1)))

        assert signed_in.open_page().status_code == 502

        assert meter.counted("api_call_seconds_count", "2xx") == 1

    def test_sign_ins_that_are_not_tried(self, browser: Browser, settings: Settings) -> None:
        settings.SIGN_IN_LIMIT_PER_USER = "2/hour"
        meter = Meter()

        statuses = [browser.sign_in(password="low-tide").status_code for _ in range(5)]

        assert statuses == [200, 200, 429, 429, 429]
        assert meter.counted("api_session_sign_ins_not_tried_total") == 3

    def test_a_refusal(self, signed_in: Browser, api: DemoApi) -> None:
        meter = Meter()
        api.revoke_all()
        signed_in.open_page()

        assert meter.counted("api_session_ended_total", "refused") == 1

    def test_a_hand_off(self, signed_in: Browser, api: DemoApi) -> None:
        meter = Meter()
        api.expire_access_tokens()
        body = signed_in.get("/protected/events/?rows=1").getvalue().decode()
        [session_update] = re.findall(r'^data: (\{"session".*\})$', body, re.MULTILINE)
        signed_in.post("/accounts/session/update/", json.loads(session_update), content_type="application/json")
        signed_in.post("/accounts/session/update/", {"session": "made up"}, content_type="application/json")

        assert meter.counted("api_session_updates_total", "sent") == 1
        assert meter.counted("api_session_updates_total", "taken") == 1
        assert meter.counted("api_session_updates_total", "refused") == 1

    def test_no_label_tells_of_a_user_a_session_or_a_path(self, signed_in: Browser) -> None:
        signed_in.open_page()
        session, families = signed_in.session(), text_string_to_metric_families(scrape().text)
        labels = [
            label
            for family in families
            for sample in family.samples
            for label in sample.labels.items()
            if family.name.startswith("api_")
        ]

        assert {name for name, _ in labels} <= {"outcome", "trigger", "where", "reason", "key_id", "status", "le"}
        values = {value for name, value in labels if name != "le"}
        assert values
        for told in (str(session.id), session.id.hex, str(session.user.id), session.user.name, "/protected"):
            assert told not in values


@pytest.fixture
def busy_site(tmp_path: Path) -> Iterator[tuple[Site, DemoApi]]:
    """Four workers, which count what they do."""
    with DemoApi(access_ttl=3600) as api:
        (tmp_path / "metrics").mkdir()
        site = Site(
            database_url=f"sqlite:///{tmp_path}/db.sqlite3",
            api_url=api.url,
            environment={
                "METRICS_TOKEN": TOKEN,
                "LOG_FORMAT": "json",
                "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "metrics"),
            },
        )
        site.migrate()
        with site:
            yield site, api


def test_it_tells_of_all_workers_whichever_answers(busy_site: tuple[Site, DemoApi]) -> None:
    site, api = busy_site
    assert_every_series_is_there(read(scrape_site(site)))
    browser = RemoteBrowser(site.port)
    browser.sign_in()
    api.expire_access_tokens()
    started = time.monotonic()
    for tab in browser.open_tabs(20):
        assert tab.answer().status == 200
    took = time.monotonic() - started

    seen = [read(scrape_site(site)) for _ in range(8)]

    for counts in seen:
        assert counts["api_session_started_total",] == 1
        assert counts["api_session_rotations_total", "rotated", "401"] == 1
        assert counts["api_call_seconds_count", "2xx"] == 20
        waits = {labels[0]: value for (name, *labels), value in counts.items() if name == FOLLOWERS}
        assert sum(waits.values()) <= 19
        assert waits.keys() == {"process", "elsewhere"}
        waited = [value for (name, *_), value in counts.items() if name == "api_session_follower_wait_seconds_sum"]
        assert sum(waited) <= 19 * took


def test_workers_that_are_replaced_leave_their_counts_to_the_next_and_no_files(
    busy_site: tuple[Site, DemoApi], tmp_path: Path
) -> None:
    site, _ = busy_site
    browser = RemoteBrowser(site.port)
    browser.sign_in()
    rounds, tabs, workers = 3, 12, len(site.workers)

    for _ in range(rounds):
        for tab in browser.open_tabs(tabs):
            assert tab.answer().status == 200
        site.kill(site.workers[0])
        site.reload()

    counts = read(scrape_site(site))
    assert counts["api_session_started_total",] == 1
    assert counts["api_call_seconds_count", "2xx"] == rounds * tabs
    assert_every_series_is_there(counts)
    assert site.manage("prune_sessions").returncode == 0
    # Old ones and new ones, while they are reloaded, and the process that starts them.
    assert len(list((tmp_path / "metrics").glob("histogram_*.db"))) <= 2 * workers + 1


def assert_every_series_is_there(counts: Counts) -> None:
    """Also of what has never happened: Prometheus sees no increase in a series that begins with 1."""
    for reason in EndReason.values:
        assert counts["api_session_ended_total", reason] == 0
    for trigger in Trigger.values:
        assert counts["api_session_rotations_total", "unstored", trigger] == 0
        assert counts["api_session_rotations_total", "api-away", trigger] == 0
        assert ("api_session_rotations_total", "rotated", trigger) in counts
    for status in ("none", "5xx"):
        assert counts["api_call_seconds_count", status] == 0
        assert counts["api_token_call_seconds_count", status] == 0
    assert counts["api_session_updates_total", "refused"] == 0
    assert [labels for (name, *labels) in counts if name == "api_session_cookies_opened_total"]
    assert ("api_session_sign_ins_not_tried_total",) in counts


def scrape_site(site: Site) -> str:
    # A connection of its own each time, which any of the workers may take.
    answer = requests.get(f"{site.url}/metrics", headers={**KNOWS_TOKEN, "Connection": "close"}, timeout=30)
    assert answer.status_code == 200
    return answer.text


def test_rules_and_dashboard_ask_for_what_there_is(metered: None) -> None:
    known = set(re.findall(r"^# TYPE (\w+) ", scrape().text, re.MULTILINE))
    asked = set()
    for name in ("alerts.yml", "grafana-dashboard.json"):
        asked |= set(re.findall(r"\bapi_(?:session|call)\w+", (MONITORING / name).read_text()))

    assert asked
    for name in asked:
        assert re.sub(r"_(bucket|count|sum)$", "", name) in known, name


def test_the_log_of_a_production_server_is_json_a_line_for_each_event(busy_site: tuple[Site, DemoApi]) -> None:
    site, api = busy_site
    browser = RemoteBrowser(site.port)
    browser.sign_in()
    api.expire_access_tokens()
    request_id = browser.open().header("X-Request-ID")

    lines = [json.loads(line) for line in site.log.splitlines() if line.startswith("{")]
    events = {line["event"]: line for line in lines if "event" in line}

    assert events.keys() == {"signed-in", "rotated"}
    rotated = events["rotated"]
    assert rotated["request_id"] == request_id
    assert rotated["level"] == "INFO"
    assert rotated["generation"] == 1
    assert rotated["trigger"] == "401"
    assert rotated["session_id"] == events["signed-in"]["session_id"]
    assert rotated["user_id"]
