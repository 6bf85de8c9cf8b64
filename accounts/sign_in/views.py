"""The sign-in page and the sign-out."""

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

from accounts.api_client import ApiRequest
from accounts.browser.error_responses import account_context, developer_context, is_script
from accounts.browser.next_page import next_page
from accounts.conf import conf
from accounts.exceptions import ApiError, ApiUnavailable, CredentialsRefused, TooManyAttempts
from accounts.sign_in.forms import SignInForm
from accounts.sign_in.provider_views import login_at_provider, signed_out_page, signs_in_at_provider
from accounts.sign_in.sign_in import sign_in, sign_out

logger = logging.getLogger(__name__)

_CONNECT_SECONDS = 0.5


@sensitive_post_parameters("password")
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def login(request: ApiRequest) -> HttpResponse:
    """The sign-in page: a form, or a button that leads to the provider.

    It redirects a user who is signed in, except with `?switch=1`, so that they can sign in with another account.
    """
    if signs_in_at_provider():
        return login_at_provider(request)
    if request.method == "POST":
        return _submit(request, SignInForm(request.POST))
    if request.api_session.is_signed_in() and "switch" not in request.GET:
        return HttpResponseRedirect(next_page(request, request.GET.get("next", "")))
    form = SignInForm(initial={"next": request.GET.get("next", "")})
    return _sign_in_page(request, form, is_api_down=_is_local_api_down())


@require_POST
def logout(request: ApiRequest) -> HttpResponse:
    """End the session here and at the API. A provider may have its own session, which the browser then ends there."""
    sign_out(request)
    if is_script(request):
        return HttpResponse(status=204)
    return signed_out_page(request) if signs_in_at_provider() else HttpResponseRedirect("/")


def _submit(request: ApiRequest, form: SignInForm) -> HttpResponse:
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
        logger.error("%s", error)
        form.add_error(None, "The service that checks your password is not answering. Please try again in a moment.")
        response = _sign_in_page(request, form, status=503, is_api_down=_is_local_api_down())
        response["Retry-After"] = str(error.retry_after)
        return response
    except ApiError as error:
        logger.error("%s", error)
        form.add_error(None, "The service that checks your password sent a response that this site cannot use.")
        return _sign_in_page(request, form, status=502)
    return HttpResponseRedirect(next_page(request, form.cleaned_data["next"] or ""))


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
    request: ApiRequest, form: SignInForm, *, status: int = 200, is_api_down: bool = False
) -> HttpResponse:
    context = {
        **account_context(request.api_session.current_unchecked()),
        **(developer_context() if status in (502, 503) else {}),
        "form": form,
        "ended": "ended" in request.GET,
        "missing_api": conf.base_url if is_api_down else "",
        "missing_api_port": urlsplit(conf.base_url).port or 80,
    }
    return render(request, "accounts/login.html", context, status=status)


def _is_local_api_down() -> bool:
    """Whether a developer has not started the API on their own machine. Always false in production."""
    url = urlsplit(conf.base_url)
    host = url.hostname or ""
    try:
        local = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        local = False
    if not (settings.DEBUG and local):
        return False
    try:
        with socket.create_connection((host, url.port or 80), timeout=_CONNECT_SECONDS):
            return False
    except OSError:
        return True
