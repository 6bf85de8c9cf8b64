"""A panel for Django Debug Toolbar: the exchange behind the page that it is on. Only where DEBUG_TOOLBAR is on."""

from debug_toolbar.panels import Panel
from django.http import HttpRequest, HttpResponseBase
from django.templatetags.static import static
from django.utils.html import format_html

from accounts.diagram.steps import summarize
from accounts.diagram.svg import draw_diagram
from accounts.telemetry.trace import Step, Trace


class RequestTracePanel(Panel):
    """Browser, Django and API, drawn as they are at `/protected/trace/`."""

    title = "Exchange"

    @property
    def nav_subtitle(self) -> str:
        """The same in a line."""
        steps = self._steps()
        return summarize(steps) if steps else "API_TRACE is off"

    @property
    def content(self) -> str:
        """The drawing, and its styles: the toolbar lives in a shadow tree, which those of the page do not reach."""
        steps = self._steps()
        if not steps:
            return "<p>Nothing is recorded, since API_TRACE is off.</p>"
        styles = static("accounts/diagram.css")
        return format_html(
            '<link rel="stylesheet" href="{}"><div class="drawn-in-toolbar">{}</div>', styles, draw_diagram(steps)
        )

    def generate_stats(self, request: HttpRequest, response: HttpResponseBase) -> None:
        """The steps up to here. A streamed page has no toolbar."""
        trace: Trace | None = getattr(request, "trace", None)
        steps = [step.to_json() for step in trace.in_order()] if trace else []
        self.record_stats({"steps": steps})  # type: ignore[no-untyped-call]

    def _steps(self) -> list[Step]:
        stats = self.get_stats()  # type: ignore[no-untyped-call]
        return [Step.from_json(step) for step in stats.get("steps", [])]
