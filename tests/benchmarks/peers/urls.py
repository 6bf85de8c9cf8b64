"""The site's own addresses; /small/, a page of 100 bytes with one call to the API; and /empty/, which does nothing."""

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import path
from django.views.decorators.http import require_safe

from accounts.api_client import ApiRequest
from config.urls import urlpatterns as site


@require_safe
def small(request: ApiRequest) -> HttpResponse:
    api_response = request.api.get("/protected-route")
    api_response.raise_for_status()
    return render(request, "peers/small.html", {"row": api_response.json()["data"][0]})


@require_safe
def empty(request: ApiRequest) -> HttpResponse:
    return HttpResponse()


urlpatterns = [path("small/", small), path("empty/", empty), *site]
