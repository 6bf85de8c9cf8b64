"""The addresses that the library's documentation proposes, and the data."""

from django.apps import apps
from django.urls import path
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework_simplejwt.views import token_blacklist, token_obtain_pair, token_refresh

from tests.demo_api.readings import ROWS


@api_view(["GET"])  # type: ignore[untyped-decorator]
def list_rows(request: Request) -> Response:
    return Response({"data": ROWS})


urlpatterns = [
    path("token/", token_obtain_pair),
    path("token/refresh/", token_refresh),
    path("protected-route", list_rows),
]
if apps.is_installed("rest_framework_simplejwt.token_blacklist"):
    urlpatterns.append(path("token/blacklist/", token_blacklist))
