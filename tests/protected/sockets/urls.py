"""The addresses of the site, and a view that passes the API's events on."""

from django.http import HttpResponseBase
from django.urls import path

from accounts.api_client import ApiRequest
from accounts.streaming import api_events, stream_events
from config.urls import urlpatterns as site


def view(request: ApiRequest) -> HttpResponseBase:
    return stream_events(request, api_events(request, "/protected-route/events"))


urlpatterns = [path("view/", view), *site]
