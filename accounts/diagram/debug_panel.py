"""A panel for Django Debug Toolbar: the request trace of the present page. Only where DEBUG_TOOLBAR is on."""

from debug_toolbar.panels import Panel
from django.http import HttpRequest, HttpResponseBase
from django.templatetags.static import static
from django.utils.html import format_html

from accounts.diagram.steps import summarize
from accounts.diagram.svg import render_diagram
from accounts.telemetry.trace import Step, Trace


class RequestTracePanel(Panel):
    """The same diagram as at `/protected/trace/`, for one page."""

    title = "Request trace"

    @property
    def nav_subtitle(self) -> str:
        """The request in one line."""
        steps = self._steps()
        return summarize(steps) if steps else "API_TRACE is off"

    @property
    def content(self) -> str:
        """The diagram with its style sheet: the page's own does not reach into the toolbar's shadow tree."""
        steps = self._steps()
        if not steps:
            return "<p>There is no request trace, because API_TRACE is off.</p>"
        styles = static("accounts/diagram.css")
        return format_html(
            '<link rel="stylesheet" href="{}"><div class="diagram-in-toolbar">{}</div>', styles, render_diagram(steps)
        )

    def generate_stats(self, request: HttpRequest, response: HttpResponseBase) -> None:
        """Store the steps up to now. A streamed page has no toolbar."""
        trace: Trace | None = getattr(request, "trace", None)
        steps = [step.to_json() for step in trace.in_order()] if trace else []
        self.record_stats({"steps": steps})  # type: ignore[no-untyped-call]

    def _steps(self) -> list[Step]:
        stats = self.get_stats()  # type: ignore[no-untyped-call]
        return [Step.from_json(step) for step in stats.get("steps", [])]
