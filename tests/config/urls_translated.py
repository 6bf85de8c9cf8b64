"""An address that is translated: Django's admin has this word."""

from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy


def _page(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


urlpatterns = [
    path("below/", include([path(format_lazy("{}/", gettext_lazy("Home")), _page, name="page")])),
]
