"""The provider under /o/, its sign-in page, and the data."""

from django.contrib.auth.views import LoginView
from django.http import HttpRequest, JsonResponse
from django.urls import include, path
from oauth2_provider.decorators import protected_resource

from tests.demo_api.readings import ROWS


# With metadata it answers 401, else 403.
@protected_resource(scopes=["read"], advertise_metadata=True)  # type: ignore[untyped-decorator]
def list_rows(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"data": ROWS})


urlpatterns = [
    path("o/", include("oauth2_provider.urls")),
    path("login/", LoginView.as_view()),
    path("protected-route", list_rows),
]
