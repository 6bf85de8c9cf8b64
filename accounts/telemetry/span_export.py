"""Sends spans to an OpenTelemetry collector, with OpenTelemetry's SDK. Imported only if spans are recorded.

The SDK reads its own variables, such as OTEL_TRACES_SAMPLER, OTEL_SERVICE_NAME and OTEL_EXPORTER_OTLP_HEADERS.
"""

import atexit
import logging
import os
import threading

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import set_tracer_provider

from accounts.conf import conf

logger = logging.getLogger(__name__)

_SERVICE_NAME = "django-api-session"
#: A collector that hangs must not hold up the end of a process for longer.
_EXIT_MILLISECONDS = 3000


class SpanQueue(SpanProcessor):
    """The SDK's queue and its thread, from the first span on: threads do not survive the fork of a server's worker."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._starting = threading.Lock()
        self._queue: SpanProcessor | None = None

    def on_end(self, span: ReadableSpan) -> None:
        (self._queue or self._start()).on_end(span)

    def shutdown(self) -> None:
        if isinstance(self._queue, BatchSpanProcessor):
            # Its own `shutdown` has no limit that could be set, and waits for 30 seconds.
            self._queue._batch_processor.shutdown(_EXIT_MILLISECONDS)

    def _start(self) -> SpanProcessor:
        with self._starting:
            if self._queue is None:
                try:
                    self._queue = BatchSpanProcessor(self._exporter)
                except ValueError as error:
                    logger.error("no spans are exported, because of a variable OTEL_BSP_...: %s", error)
                    self._queue = SpanProcessor()
                except RuntimeError:
                    # The system has no more threads, or the process is ending. The next span tries again.
                    return SpanProcessor()
            return self._queue


def export_spans() -> None:
    """Give all spans of this process to the collector, and those that are left when the process ends."""
    endpoint = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or f"{conf.otlp_endpoint.rstrip('/')}/v1/traces"
    resource = Resource.create({SERVICE_NAME: _SERVICE_NAME, **OTELResourceDetector().detect().attributes})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(SpanQueue(OTLPSpanExporter(endpoint=endpoint)))
    set_tracer_provider(provider)
    atexit.register(provider.shutdown)
