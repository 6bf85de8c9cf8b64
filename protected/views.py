"""Pages that need the API. The views do not handle tokens."""

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.api_client import ApiRequest
from accounts.conf import conf
from protected.tables import as_table


@require_safe
def script(request: ApiRequest) -> HttpResponse:
    """A page whose script calls the API through this site, several times at once, with only the cookie."""
    request.api_session.require()
    return render(request, "protected/script.html")


@require_safe
def dashboard(request: ApiRequest) -> HttpResponse:
    """A page that shows one response of the API. If the API has no such path, it says so, and what to edit."""
    path = "/protected-route"  # of the demo API: write a path of yours here
    api_response = request.api.get(path)
    not_found = api_response.status_code == 404
    if not not_found:
        api_response.raise_for_status()
    session = request.api_session.require()
    seconds_left = session.tokens.access_seconds_left()
    context = {
        "path": path,
        "not_found": not_found,
        "table": None if not_found else as_table(api_response.json()),
        "generation": session.generation,
        "is_bound_to_device": bool(session.device),
        "access_seconds_left": None if seconds_left is None else round(seconds_left),
        "traced": conf.traces,
    }
    return render(request, "protected/dashboard.html", context)
