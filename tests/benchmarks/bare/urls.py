"""The site's own addresses, in the same order, with bare views in the place of the protected page."""

from typing import Any

from django.urls import include, path

from config.urls import urlpatterns as site
from protected.urls import urlpatterns as protected
from tests.benchmarks.bare import views

_BARE = [
    path("", views.dashboard, name="dashboard"),
    path("prepared/", views.prepared),
    path("our-call/", views.our_call),
    path("no-call/", views.no_call),
    path("nothing/", views.nothing),
]
_site: list[Any] = list(site)
urlpatterns = [
    path("protected/", include(([*_BARE, *protected], "protected"))) if str(route.pattern) == "protected/" else route
    for route in _site
]
