"""An OpenTelemetry collector that keeps what it gets over OTLP/HTTP."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.load.processes import free_port, wait_until


class Collector:
    """A context manager. After the block nobody listens on its port."""

    def __init__(self) -> None:
        self.url = ""
        #: The bodies of all requests, as they arrived.
        self.bodies: list[bytes] = []
        self.spans: list[Span] = []
        self.services: set[str] = set()

    def __enter__(self) -> "Collector":
        # Not one of the ports that outgoing connections get: nobody else is to listen there afterwards.
        self._server = ThreadingHTTPServer(("127.0.0.1", free_port()), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def page(self, trace_id: str) -> Span:
        """The span of the page in this trace, which is waited for."""
        found: list[Span] = []

        def look() -> bool:
            found[:] = [span for span in self.trace(trace_id) if span.kind == Span.SPAN_KIND_SERVER]
            return bool(found)

        wait_until(look, f"the collector has the page of the trace {trace_id}")
        return found[0]

    def trace(self, trace_id: str) -> list[Span]:
        """The spans of this trace so far, in the order in which they began."""
        spans = [span for span in self.spans.copy() if span.trace_id.hex() == trace_id]
        return sorted(spans, key=lambda span: span.start_time_unix_nano)

    def below(self, parent: Span) -> list[Span]:
        return [span for span in self.trace(parent.trace_id.hex()) if span.parent_span_id == parent.span_id]

    def _take(self, path: str, body: bytes) -> None:
        assert path == "/v1/traces"
        self.bodies.append(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.services.add(attributes_of(resource.resource)["service.name"])
            self.spans.extend(span for scope in resource.scope_spans for span in scope.spans)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        take: Callable[[str, bytes], None] = self._take

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                take(self.path, self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def attributes_of(span: Any) -> dict[str, Any]:
    """The attributes of a span or of a resource."""
    return {attribute.key: _value(attribute.value) for attribute in span.attributes}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    return [_value(each) for each in value.array_value.values] if kind == "array_value" else getattr(value, str(kind))
