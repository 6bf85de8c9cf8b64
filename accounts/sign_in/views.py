"""The sign-in page and the sign-out."""

import logging
import socket
from ipaddress import ip_address
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from accounts.api_client import ApiRequest
from accounts.browser.error_responses import developer_context, is_htmx, is_script
from accounts.browser.next_page import next_page
from accounts.browser.session_json import session_response
from accounts.conf import conf
from accounts.exceptions import ApiError, ApiUnavailable, CredentialsRefused, DatabaseUnavailable, TooManyAttempts
from accounts.session.freshness import read_freshness
from accounts.sign_in.forms import SignInForm, has_json, posted_fields
from accounts.sign_in.fresh_sign_in import fresh_notice, is_signed_in_as_asked, not_offered_page
from accounts.sign_in.provider_views import ended_notice, login_at_provider, signed_out_page, signs_in_at_provider
from accounts.sign_in.sign_in import forget_messages, say_signed_in, say_signed_out, sign_in, sign_out

logger = logging.getLogger(__name__)

_CONNECT_SECONDS = 0.5


@login_not_required
@sensitive_post_parameters("password")
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def login(request: ApiRequest) -> HttpResponse:
    """The sign-in page: a form, or a button that leads to the provider.

    A script that posts name and password gets JSON: the session, or `detail` with a status that says what is wrong.
    The page redirects a user who is signed in, except with `?switch=1`, so that they can sign in with another account.
    """
    if signs_in_at_provider():
        return login_at_provider(request)
    if request.method == "POST":
        return _submit(request)
    if is_signed_in_as_asked(request):
        return HttpResponseRedirect(next_page(request, request.GET.get("next", "")))
    if read_freshness(request.GET).acr_values:
        # There is only one kind of sign-in here.
        return not_offered_page(request)
    form = SignInForm(initial={"next": request.GET.get("next", "")})
    return _sign_in_page(request, form, is_api_down=_is_local_api_down())


@login_not_required
@require_POST
def logout(request: ApiRequest) -> HttpResponse:
    """End the session here and at the API. A provider may have its own session, which the browser then ends there."""
    sign_out(request)
    if is_script(request):
        forget_messages(request)
        return HttpResponse(status=204)
    if signs_in_at_provider():
        return signed_out_page(request)
    say_signed_out(request)
    return HttpResponseRedirect("/")


def _submit(request: ApiRequest) -> HttpResponse:
    try:
        form = SignInForm(posted_fields(request))
    except ValueError as error:
        return JsonResponse({"detail": str(error)}, status=400)
    if not form.is_valid():
        return _refuse(request, form, 400)
    try:
        sign_in(request, form.cleaned_data["username"], form.cleaned_data["password"])
    except CredentialsRefused as refused:
        return _refuse(request, form, 401, refused.message)
    except TooManyAttempts as error:
        return _refuse(request, form, 429, error.message, retry_after=error.retry_after)
    except ApiUnavailable as error:
        logger.error("%s", error)
        what = "This site cannot reach its own database"
        if not isinstance(error, DatabaseUnavailable):
            what = "The service that checks your password is not answering"
        return _refuse(request, form, 503, f"{what}. Please try again in a moment.", retry_after=error.retry_after)
    except ApiError as error:
        logger.error("%s", error)
        message = "The service that checks your password sent a response that this site cannot use."
        return _refuse(request, form, 502, message)
    if _wants_json(request):
        forget_messages(request)
        return session_response(request, request.api_session.current_unchecked())
    say_signed_in(request)
    return HttpResponseRedirect(next_page(request, form.cleaned_data["next"] or ""))


def _wants_json(request: ApiRequest) -> bool:
    return has_json(request) or (is_script(request) and not is_htmx(request))


def _refuse(
    request: ApiRequest, form: SignInForm, status: int, message: str = "", *, retry_after: int | None = None
) -> HttpResponse:
    """The form again with `message`, or JSON for a script. The form has status 200 if the user has to correct it."""
    if message:
        form.add_error(None, message)
    response: HttpResponse
    if _wants_json(request):
        response = JsonResponse({"detail": message or form.errors_in_words()}, status=status)
    else:
        page_status = 200 if status in (400, 401) else status
        response = _sign_in_page(request, form, status=page_status, is_api_down=status == 503 and _is_local_api_down())
    if retry_after is not None:
        response["Retry-After"] = str(retry_after)
    return response


def _sign_in_page(
    request: ApiRequest, form: SignInForm, *, status: int = 200, is_api_down: bool = False
) -> HttpResponse:
    form.choose_focus()
    context = {
        **(developer_context() if status in (502, 503) else {}),
        "form": form,
        "ended": ended_notice(request),
        "fresh": fresh_notice(request),
        "forgot_password_url": settings.FORGOT_PASSWORD_URL,
        "register_url": settings.REGISTER_URL,
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
