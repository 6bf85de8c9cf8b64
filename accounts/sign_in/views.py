"""Sign-in, sign-out, and what a script may know of the present session."""

import logging
import socket
from ipaddress import ip_address
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from accounts.api import ApiRequest
from accounts.browser.error_responses import is_script, next_page
from accounts.conf import conf
from accounts.exceptions import ApiError, ApiUnavailable, CredentialsRefused, TooManyAttempts
from accounts.sign_in.forms import SignInForm
from accounts.sign_in.provider_views import login_at_provider, signed_out_page, signs_in_at_provider
from accounts.sign_in.sign_in import sign_in, sign_out

logger = logging.getLogger(__name__)

_PROBE_SECONDS = 0.5


@sensitive_post_parameters("password")
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def login(request: ApiRequest) -> HttpResponse:
    """The sign-in page: a form, or a button that leads to the provider. A visitor who is signed in is sent on."""
    if signs_in_at_provider():
        return login_at_provider(request)
    if request.method == "POST":
        return _try_to_sign_in(request, SignInForm(request.POST))
    if request.api_session.is_signed_in():
        return HttpResponseRedirect(next_page(request, request.GET.get("next", "")))
    form = SignInForm(initial={"next": request.GET.get("next", "")})
    return _sign_in_page(request, form, api_is_away=_is_local_api_away())


@require_POST
def logout(request: ApiRequest) -> HttpResponse:
    """End the session here and at the API; a provider may have one more, and the browser goes there to end it."""
    sign_out(request)
    if is_script(request):
        return HttpResponse(status=204)
    return signed_out_page(request) if signs_in_at_provider() else HttpResponseRedirect("/")


def _try_to_sign_in(request: ApiRequest, form: SignInForm) -> HttpResponse:
    if not form.is_valid():
        return _sign_in_page(request, form)
    try:
        sign_in(request, form.cleaned_data["username"], form.cleaned_data["password"])
    except CredentialsRefused as refused:
        form.add_error(None, refused.message)
        return _sign_in_page(request, form)
    except TooManyAttempts as error:
        return _too_many_attempts(request, form, error)
    except ApiUnavailable as error:
        form.add_error(None, "The service that checks your password is not answering. Please try again in a moment.")
        response = _sign_in_page(request, form, status=503, api_is_away=_is_local_api_away())
        response["Retry-After"] = str(error.retry_after)
        return response
    except ApiError:
        form.add_error(None, "The service that checks your password gave an answer that this site cannot use.")
        return _sign_in_page(request, form, status=502)
    return HttpResponseRedirect(next_page(request, form.cleaned_data["next"]))


def _too_many_attempts(request: ApiRequest, form: SignInForm, error: TooManyAttempts) -> HttpResponse:
    form.add_error(None, error.message)
    response: HttpResponse
    if is_script(request):
        response = JsonResponse({"detail": error.message}, status=429)
    else:
        response = _sign_in_page(request, form, status=429)
    response["Retry-After"] = str(error.retry_after)
    return response


def _sign_in_page(
    request: ApiRequest, form: SignInForm, *, status: int = 200, api_is_away: bool = False
) -> HttpResponse:
    context = {
        "form": form,
        "ended": "ended" in request.GET,
        "missing_api": conf.base_url if api_is_away else "",
        "missing_api_port": urlsplit(conf.base_url).port or 80,
    }
    return render(request, "accounts/login.html", context, status=status)


def _is_local_api_away() -> bool:
    """Whether the API of a developer's own machine has not been started. Never asked in production."""
    url = urlsplit(conf.base_url)
    host = url.hostname or ""
    try:
        local = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        local = False
    if not (settings.DEBUG and local):
        return False
    try:
        with socket.create_connection((host, url.port or 80), timeout=_PROBE_SECONDS):
            return False
    except OSError:
        return True
