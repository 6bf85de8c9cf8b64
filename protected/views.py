"""Pages that need the API. A view says what it shows, and nothing of tokens."""

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.api import ApiRequest
from accounts.conf import conf
from protected.tables import as_table


@require_safe
def script(request: ApiRequest) -> HttpResponse:
    """A page whose script calls the API through this site, several times at once, with nothing but the cookie."""
    session = request.api_session.require()
    return render(request, "protected/script.html", {"user": session.user}, using="pages")


@require_safe
def dashboard(request: ApiRequest) -> HttpResponse:
    """One call to the API, rendered."""
    answer = request.api.get("/protected-route")
    answer.raise_for_status()
    session = request.api_session.require()
    context = {
        "table": as_table(answer.json()),
        "user": session.user,
        "generation": session.generation,
        "access_seconds_left": session.tokens.access_seconds_left(),
        "traced": conf.traces,
    }
    return render(request, "protected/dashboard.html", context, using="pages")
