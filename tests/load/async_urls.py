"""The addresses of the site, and a page whose view is `async def`."""

import asyncio

from django.http import JsonResponse
from django.urls import path

from accounts.api_client import ApiRequest
from config.urls import urlpatterns as site


async def whoami(request: ApiRequest) -> JsonResponse:
    """Who the user of this request is, as the API and the session say."""
    calls = await asyncio.gather(request.api.aget("/me"), request.api.aget("/me"))
    user = await request.auser()
    names = [*(call.json()["email"] for call in calls), request.user.get_username(), user.get_username()]
    return JsonResponse({"names": names, "ids": [call.json()["request_id"] for call in calls]})


urlpatterns = [path("whoami/", whoami), *site]
