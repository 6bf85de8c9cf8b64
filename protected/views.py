"""Pages that need the API. The views do not handle tokens."""

from http import HTTPStatus

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.api_client import ApiRequest
from accounts.conf import conf
from protected.tables import as_table

#: What an API responds if it has no such path, or the path for other methods only.
_NOT_THERE = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.GONE)


@require_safe
def script(request: ApiRequest) -> HttpResponse:
    """A page whose script calls the API through this site, several times at once, with only the cookie."""
    session = request.api_session.require()
    return render(request, "protected/script.html", {"user": session.user}, using="pages")


@require_safe
def dashboard(request: ApiRequest) -> HttpResponse:
    """A page that shows one response of the API. If the API has no such path, it says so, and what to edit."""
    path = "/protected-route"  # of the demo API: write a path of yours here
    api_response = request.api.get(path)
    table = refused = None
    if api_response.status_code in _NOT_THERE:
        status = HTTPStatus(api_response.status_code)
        refused = f"{status.value} {status.phrase}"
    else:
        api_response.raise_for_status()
        table = as_table(api_response.json())
    session = request.api_session.require()
    context = {
        "path": path,
        "refused": refused,
        "table": table,
        "user": session.user,
        "generation": session.generation,
        "access_seconds_left": session.tokens.access_seconds_left(),
        "traced": conf.traces,
    }
    return render(request, "protected/dashboard.html", context, using="pages")
