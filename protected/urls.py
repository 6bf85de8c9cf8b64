from django.urls import path

from protected import exchange, proxy, streams, views

app_name = "protected"
urlpatterns = [
    path("", views.dashboard, name="dashboard"),
    path("stream/", streams.stream, name="stream"),
    path("events/", streams.events, name="events"),
    path("download/", streams.download, name="download"),
    path("script/", views.script, name="script"),
    path("exchange/", exchange.page, name="exchange"),
    path("exchange/events/", exchange.events, name="exchange-events"),
    path("api/<path:path>", proxy.api, name="api"),
]
