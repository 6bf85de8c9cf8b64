"""Fixtures and helpers to look at the request traces that were recorded."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from pytest_django import Settings

from accounts.history import traced_requests as traces
from accounts.history.traced_requests import KEPT_REQUESTS, TracedRequestWriter
from accounts.models import TracedRequest
from accounts.telemetry.trace import Step, StepKind
from tests.accounts.rotation.helpers import Execute
from tests.browsers import PATIENCE_SECONDS, Browser
from tests.demo_api.server import DemoApi

ROUTE = "/protected-route"
STREAM = "/protected/stream/?rows=2&delay=0"
CALLS = (StepKind.CALL, StepKind.SIGN_IN, StepKind.REFRESH, StepKind.REVOCATION)


@pytest.fixture
def trace_writer(
    settings: Settings, transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TracedRequestWriter]:
    """Requests are recorded. After the test, the writer has closed its database connection."""
    settings.API_TRACE = True
    trace_writer = TracedRequestWriter()
    monkeypatch.setattr(traces, "trace_writer", trace_writer)
    yield trace_writer
    assert trace_writer.finish(PATIENCE_SECONDS)


@pytest.fixture
def known(trace_writer: TracedRequestWriter, signed_in: Browser, api: DemoApi) -> Browser:
    """Ada's browser, signed in. No request is recorded yet, neither here nor at the API."""
    assert trace_writer.finish(PATIENCE_SECONDS)
    TracedRequest.objects.all().delete()
    api.forget_calls()
    return signed_in


class LeaseClaims:
    """Counts the statements that claim a lease."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, execute: Execute, sql: str, params: Any, many: bool, context: Any) -> Any:
        result = execute(sql, params, many, context)
        self.count += sql.startswith("UPDATE") and '"lease_owner" = ' in sql and '"retry_at" = ' in sql
        return result


def traced(trace_writer: TracedRequestWriter, session_id: UUID) -> list[list[Step]]:
    """The steps of the session's requests, in the order in which they arrived."""
    assert trace_writer.finish(PATIENCE_SECONDS)
    rows = TracedRequest.objects.of(session_id, KEPT_REQUESTS)
    return [[Step.from_json(step) for step in row.steps] for row in reversed(rows)]


def steps(trace_writer: TracedRequestWriter, browser: Browser) -> list[Step]:
    """The steps of the one request that was recorded."""
    [only] = traced(trace_writer, browser.session().id)
    return only


def kinds(steps: list[Step]) -> list[str]:
    return [step.kind for step in steps]


def of_kind(steps: list[Step], kind: str) -> Step:
    [only] = [step for step in steps if step.kind == kind]
    return only


def calls(steps: list[Step]) -> list[tuple[str, str, int | None]]:
    return [(step.method, step.path, step.status) for step in steps if step.kind in CALLS for _ in range(step.times)]


def wire(api: DemoApi) -> list[tuple[str, str, int | None]]:
    return [(call.method, call.path, call.status or None) for call in api.calls]


def stream(browser: Browser, path: str = STREAM) -> str:
    return b"".join(browser.get(path)).decode()
