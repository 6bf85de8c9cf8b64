"""OpenTelemetry with a real collector: what gunicorn's workers export, without a secret, and what costs nothing."""

import json
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from pytest_django import Settings

from tests.config.collector import Collector, attributes_of
from tests.config.processes import PRODUCTION, copy_site, start
from tests.demo_api.server import DEMO_USERS, DemoApi, Fault, Gate
from tests.load.browser import ADA, PAGE, Answer, Browser, Tab
from tests.load.processes import wait_until
from tests.load.site import Site

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
QUERY_SECRET = "barnacle-and-bowline"
MAX_ROUNDS = 20
WISHED = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


@pytest.fixture
def api() -> Iterator[DemoApi]:
    with DemoApi(access_ttl=3600) as api:
        yield api


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@pytest.fixture
def site(api: DemoApi, collector: Collector, tmp_path: Path) -> Iterator[Site]:
    site = Site(
        database_url=f"sqlite:///{tmp_path}/db.sqlite3",
        api_url=api.url,
        workers=2,
        environment={
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            # The SDK's own rule. A sampled caller is always followed.
            "OTEL_TRACES_SAMPLER": "parentbased_always_on",
        },
    )
    site.migrate()
    with site:
        yield site


def open_traced(browser: Browser, path: str, **headers: str) -> Tab:
    return Tab(browser, browser.port, path, headers={"Accept": "text/html", **headers}, body=None, receives=True)


def open_three(browser: Browser, api: DemoApi) -> list[Answer]:
    """Open a page that refreshes, in the trace of the browser, and two that need the same tokens. Returns the two."""
    api.expire_access_tokens()
    api.forget_calls()
    with Gate() as gate:
        api.fail("POST", "/auth/refresh", Fault.hold_before(gate))
        path = f"{PAGE}?code={QUERY_SECRET}"
        first = open_traced(browser, path, traceparent=f"00-{TRACE}-{CALLER}-01", tracestate="vendor=value")
        assert gate.reached.wait(30)
        others = browser.open_tabs(2)
        wait_until(lambda: api.count("GET", "/protected-route") == 3, "the API has refused three calls")
        gate.release()
        answers = [tab.answer() for tab in (first, *others)]
    assert {answer.status for answer in answers} == {200}
    return answers[1:]


def names(spans: list[Span]) -> list[str]:
    return [span.name for span in spans]


def test_a_site_and_its_collector(site: Site, api: DemoApi, collector: Collector) -> None:
    browser = Browser(site.port)
    browser.sign_in()

    check_rotation(browser, api, collector, site)
    check_other_pages(browser, collector, site)
    check_secrets(browser, api, collector)
    check_outages(browser, collector, site)


def check_rotation(browser: Browser, api: DemoApi, collector: Collector, site: Site) -> None:
    for _ in range(MAX_ROUNDS):
        collector.spans.clear()
        others = open_three(browser, api)
        # All of the round is waited for: what comes later would be taken for a part of the next round.
        page, *pages = map(collector.page, [TRACE, *(answer.header("X-Request-ID") for answer in others)])
        # A page that comes to the record a moment later has nothing to wait for.
        if all("wait" in names(collector.below(page)) for page in pages):
            break

    assert page.parent_span_id.hex() == CALLER
    assert page.name == "GET /protected/"
    shown = attributes_of(page)
    assert (shown["http.route"], shown["url.path"], shown["http.response.status_code"]) == (PAGE, PAGE, 200)
    refused, refresh, call = collector.below(page)
    assert names([refused, refresh, call]) == ["GET", "refresh", "GET"]
    assert [attributes_of(span)["http.response.status_code"] for span in (refused, call)] == [401, 200]
    assert attributes_of(call)["url.full"] == f"{api.url}/protected-route"
    [spent] = collector.below(refresh)
    assert (spent.name, attributes_of(spent)["url.full"]) == ("POST", f"{api.url}/auth/refresh")
    for waiting in pages:
        assert names(collector.below(waiting)) == ["GET", "wait", "adoption", "GET"]
    assert {
        call.headers["traceparent"].rpartition("-")[0]: call.headers.get("tracestate", "") for call in api.calls
    } == {
        f"00-{span.trace_id.hex()}-{span.span_id.hex()}": span.trace_state
        for each in (page, *pages)
        for span in collector.trace(each.trace_id.hex())
        if span.kind == Span.SPAN_KIND_CLIENT
    }
    assert call.trace_state == "vendor=value"

    lines = [json.loads(line) for line in site.log.splitlines() if '"rotated"' in line]
    assert (lines[-1]["trace_id"], lines[-1]["span_id"]) == (TRACE, page.span_id.hex())


def check_other_pages(browser: Browser, collector: Collector, site: Site) -> None:
    stream = browser.open(f"/protected/stream/?rows=2&delay=0&code={QUERY_SECRET}")
    missing = browser.open("/nowhere/")
    no_view = [browser.open(path).header("X-Request-ID") for path in ("/static/accounts/site.css", "/health/live")]
    site.reload()  # The workers end, and export what is left.

    page = collector.page(stream.header("X-Request-ID"))
    calls = collector.below(page)
    assert names(calls) == ["GET", "GET"]
    assert page.end_time_unix_nano > calls[-1].end_time_unix_nano, "the span lasts until the body has ended"
    assert attributes_of(collector.page(missing.header("X-Request-ID")))["http.response.status_code"] == 404
    assert not any(collector.trace(trace_id) for trace_id in no_view)
    assert collector.services == {"django-api-session"}


def check_secrets(browser: Browser, api: DemoApi, collector: Collector) -> None:
    sent = b"".join(collector.bodies)
    secrets = [QUERY_SECRET, ADA, DEMO_USERS[ADA]]
    secrets += [cookie.partition("=")[2] for cookie in browser.jar.header().split("; ")]
    secrets += [call.headers["authorization"].removeprefix("Bearer ") for call in api.calls if call.method == "GET"]
    assert len(secrets) > 5
    assert not [secret for secret in secrets if secret.encode() in sent]


def check_outages(browser: Browser, collector: Collector, site: Site) -> None:
    collector.__exit__()
    wait_until(
        lambda: browser.open().status == 200 and "Transient error" in site.log, "the log says that none is there"
    )
    # One that takes the connection, and never responds.
    with closing(socket.create_server(("127.0.0.1", urlsplit(collector.url).port or 0))):
        for _ in range(20):
            assert browser.open().status == 200
        site.stop()

    lines = [json.loads(line)["message"] for line in site.log.splitlines() if "opentelemetry" in line]
    assert len(lines) <= 2 * 3, "each of the two workers says each kind once a minute"
    assert "Traceback" not in site.log


class TestSettings:
    def test_off_is_not_even_imported(self, tmp_path: Path) -> None:
        program = "import config.wsgi, sys; print([name for name in sys.modules if name.startswith('opentelemetry.')])"
        disabled = {**WISHED, "OTEL_SDK_DISABLED": "true"}

        process = start(copy_site(tmp_path), program, **PRODUCTION, **disabled)

        assert process.returncode == 0, process.stderr
        assert "opentelemetry.trace" in process.stdout
        assert "opentelemetry.sdk" not in process.stdout
        assert "opentelemetry.exporter" not in process.stdout

    def test_it_has_to_be_installed(self, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
        settings.OTEL_EXPORTER_OTLP_ENDPOINT = WISHED["OTEL_EXPORTER_OTLP_ENDPOINT"]
        monkeypatch.delitem(sys.modules, "accounts.telemetry.span_export", raising=False)
        monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)

        with pytest.raises(ImproperlyConfigured, match=r"is set, but opentelemetry\.sdk\.resources is not installed"):
            apps.get_app_config("accounts").ready()
