"""The provider under /o/, its sign-in page, and the data."""

import oauth2_provider.views
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase
from django.urls import include, path
from oauth2_provider.decorators import protected_resource
from oauth2_provider.models import AccessToken

from tests.demo_api.readings import ROWS


# With metadata it answers 401, else 403.
@protected_resource(scopes=["read"], advertise_metadata=True)  # type: ignore[untyped-decorator]
def list_rows(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"data": ROWS})


class TokenView(oauth2_provider.views.TokenView):  # type: ignore[misc]  # the library ships no types
    """The library looks up the token that it has just issued, and fails where a reuse has revoked it by then."""

    def post(self, request: HttpRequest, *args: object, **options: object) -> HttpResponseBase:
        try:
            response: HttpResponseBase = super().post(request, *args, **options)
        except AccessToken.DoesNotExist:
            return JsonResponse({"error": "invalid_grant"}, status=400)
        return response


urlpatterns = [
    path("o/token/", TokenView.as_view()),
    path("o/", include("oauth2_provider.urls")),
    path("login/", LoginView.as_view()),
    path("protected-route", list_rows),
]
