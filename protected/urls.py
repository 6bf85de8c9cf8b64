from django.urls import path

from protected import proxy, streams, trace, views

app_name = "protected"
urlpatterns = [
    path("", views.dashboard, name="dashboard"),
    # Near the top, because scripts call it often, and Django tries one after the other.
    path("api/<path:path>", proxy.api, name="api"),
    path("stream/", streams.stream, name="stream"),
    path("events/", streams.events, name="events"),
    path("download/", streams.download, name="download"),
    path("script/", views.script, name="script"),
    path("trace/", trace.page, name="trace"),
    path("trace/events/", trace.events, name="trace-events"),
]
