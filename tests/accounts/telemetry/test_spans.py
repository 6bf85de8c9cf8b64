"""Spans, seen where the SDK would export them."""

import logging
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.http import HttpResponse, StreamingHttpResponse
from django.test import AsyncClient
from django.urls import path
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from pytest_django import Settings

from accounts.api_client import ApiRequest
from accounts.rotation import background
from accounts.telemetry import span_export, spans
from config.urls import urlpatterns as site
from tests.accounts.rotation.test_background import early  # noqa: F401  # a fixture
from tests.browsers import PATIENCE_SECONDS, Browser, wait_until
from tests.demo_api.server import DemoApi, Fault, Gate

pytestmark = pytest.mark.urls("tests.accounts.telemetry.test_spans")

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0MiJ9.c2lnbmF0dXJl"
REFRESH = ("POST", "/auth/refresh")


async def visit(request: ApiRequest) -> HttpResponse:
    response = await request.api.aget("/protected-route")
    return HttpResponse(str(response.status_code))


async def pieces(request: ApiRequest) -> StreamingHttpResponse:
    async def body() -> Any:
        yield b"first"
        await request.api.aget("/protected-route")
        yield b"last"

    return StreamingHttpResponse(body())


urlpatterns = [
    path("visit/<name>/", lambda request, name: HttpResponse()),
    path("async/", visit),
    path("pieces/", pieces),
    *site,
]


class Recorded(InMemorySpanExporter):
    """The spans that have ended."""

    def page(self, name: str) -> ReadableSpan:
        [page] = [span for span in self.get_finished_spans() if span.name == name and span.kind is SpanKind.SERVER]
        return page

    def below(self, span: ReadableSpan) -> list[str]:
        """The names of the spans below this one."""
        return [
            child.name
            for child in self.get_finished_spans()
            if child.parent and span.context and child.parent.span_id == span.context.span_id
        ]


@pytest.fixture
def recorded(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Recorded:
    recorded, provider = Recorded(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(recorded))
    monkeypatch.setattr(spans, "_tracer", lambda: provider.get_tracer("accounts"))
    settings.OTEL_EXPORTER_OTLP_ENDPOINT = "http://127.0.0.1:4318"
    return recorded


def shown(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_a_visitor_chooses_no_name(browser: Browser, recorded: Recorded) -> None:
    browser.client.generic("BREW", f"/visit/{TOKEN}/?code={TOKEN}")
    browser.get(f"/nowhere/{TOKEN}")

    page = recorded.page("HTTP /visit/<name>/")
    assert shown(page)["http.request.method"] == "_OTHER"
    assert shown(page)["url.path"] == "/visit/…/"
    assert shown(recorded.page("GET"))["http.response.status_code"] == 404
    assert not [span for span in recorded.get_finished_spans() if TOKEN in span.to_json()]


def test_an_api_that_is_down_is_an_error_of_both(signed_in: Browser, api: DemoApi, recorded: Recorded) -> None:
    api.fail("GET", "/protected-route", Fault.reset(), times=None)

    assert signed_in.open_page().status_code == 503

    page = recorded.page("GET /protected/")
    assert shown(page)["error.type"] == "503"
    assert not page.status.is_ok
    assert recorded.below(page) == ["GET", "GET"], "it was sent twice"
    [call, _] = [span for span in recorded.get_finished_spans() if span.kind is SpanKind.CLIENT]
    assert shown(call)["error.type"] == "ConnectionError"
    assert not call.status.is_ok
    assert not call.events, "the text of an exception may quote anything"


def test_a_refresh_that_outlives_its_page_is_in_its_trace(
    early: Browser,  # noqa: F811
    api: DemoApi,
    recorded: Recorded,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(background, "WAIT_SECONDS", 0.01)
    with Gate() as gate:
        api.fail(*REFRESH, Fault.hold_before(gate))
        assert early.open_page().status_code == 200
        page = recorded.page("GET /protected/")
        assert recorded.below(page) == ["GET"]
        api.expire_access_tokens()
        gate.release()
        wait_until(lambda: "refresh" in recorded.below(page))


@pytest.mark.parametrize("address", ["/async/", "/pieces/"])
def test_async_views(signed_in: Browser, recorded: Recorded, address: str) -> None:
    client = AsyncClient()
    client.cookies = signed_in.client.cookies

    async def open_page() -> None:
        response: Any = await client.get(address)
        if response.streaming:
            assert not recorded.get_finished_spans()
            assert [piece async for piece in response] == [b"first", b"last"]
            response.close()

    async_to_sync(open_page)()

    assert recorded.below(recorded.page(f"GET {address}")) == ["GET"]


def test_a_stream_that_the_browser_leaves_has_a_span(signed_in: Browser, recorded: Recorded) -> None:
    page = signed_in.get("/protected/stream/?rows=2&delay=0")
    assert not [span for span in recorded.get_finished_spans() if span.kind is SpanKind.SERVER]

    page.close()

    assert shown(recorded.page("GET /protected/stream/"))["http.response.status_code"] == 200


class HangingExporter(SpanExporter):
    def __init__(self) -> None:
        self.is_over = threading.Event()
        self.has_ended = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.is_over.wait(PATIENCE_SECONDS / 2)
        self.has_ended = True
        return SpanExportResult.FAILURE


class TestQueue:
    def test_a_collector_that_hangs_does_not_hold_up_the_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(span_export, "_EXIT_MILLISECONDS", 1)
        exporter, provider = HangingExporter(), TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(span_export.SpanQueue(exporter))
        provider.get_tracer("test").start_span("one").end()

        provider.shutdown()

        assert not exporter.has_ended
        exporter.is_over.set()

    def test_a_variable_out_of_range_costs_spans_and_no_page(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "1")
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(span_export.SpanQueue(InMemorySpanExporter()))

        for _ in range(2):
            provider.get_tracer("test").start_span("one").end()
        provider.shutdown()

        [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert "OTEL_BSP_" in record.getMessage()
