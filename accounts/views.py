"""Sign-in, sign-out, and what a script may know of the present session."""

import json
import logging
import socket
from ipaddress import ip_address
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.answers import is_script, next_page
from accounts.api import ApiRequest
from accounts.conf import conf
from accounts.cookies import LARGEST_SESSION_BYTES, read_cookies
from accounts.exceptions import ApiError, ApiUnavailable, CredentialsRefused, SignInRequired, TooManyAttempts
from accounts.forms import SignInForm
from accounts.metrics import count_refused_hand_off
from accounts.provider_views import login_at_provider, signed_out_page, signs_in_at_provider
from accounts.sealing import CannotOpen
from accounts.session import ApiSession
from accounts.sign_in import sign_in, sign_out
from accounts.trace import StepKind, add_step, trace_session

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
    if request.api_session.is_living():
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


@require_safe
def session(request: ApiRequest) -> JsonResponse:
    """The present session in JSON, for scripts: who, and for how many seconds. Never a token."""
    held = request.api_session.held
    user = held.user if held else None
    response = JsonResponse(
        {
            "authenticated": held is not None,
            "user": {"id": user.id, "name": user.name, "email": user.email} if user else None,
            "access_expires_in": _whole_seconds(held.tokens.access_seconds_left()) if held else None,
            "refresh_expires_in": _whole_seconds(held.tokens.refresh_seconds_left()) if held else None,
            "generation": held.generation if held else None,
        }
    )
    response["Cache-Control"] = "private, no-store"
    return response


@require_POST
def update_session(request: ApiRequest) -> HttpResponse:
    """The deferred-update endpoint: JSON `{"session": "<hand-off>"}` from a streamed page's body becomes the cookie.

    204 and no body; tokens never go back to the script. Whatever is wrong: 400 with `detail`, and no cookie is touched.
    """
    try:
        request.api_session.take_over(ApiSession.open_hand_off(_posted_hand_off(request)))
    except (CannotOpen, SignInRequired) as error:
        logger.info("a hand-off was refused: %s", str(error) or "it does not open, or is too old")
        count_refused_hand_off()
        _trace_refusal(request)
        request.api_session.leave_cookie()
        detail = "This is no hand-off for the session of this browser, or it is too old."
        return JsonResponse({"detail": detail}, status=400, headers={"Cache-Control": "private, no-store"})
    return HttpResponse(status=204)


def _trace_refusal(request: ApiRequest) -> None:
    """Draw it for the session of the browser that posted it, which may not have been looked at."""
    if request.trace is not None and (session := read_cookies(request.COOKIES)) is not None:
        trace_session(session.id)
        add_step(StepKind.HAND_OFF_REFUSED)


def _posted_hand_off(request: ApiRequest) -> str:
    """The hand-off in the body. Raises CannotOpen where there is none."""
    if request.content_type != "application/json":
        raise CannotOpen("the body is not JSON")
    try:
        if int(request.META.get("CONTENT_LENGTH") or 0) > LARGEST_SESSION_BYTES * 2:
            raise CannotOpen("the body is too large")
        body = json.loads(request.body)
    except (ValueError, RecursionError) as error:
        raise CannotOpen("the body is not JSON") from error
    if not isinstance(body, dict) or not isinstance(body.get("session"), str):
        raise CannotOpen("the body holds no session")
    return str(body["session"])


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


def _whole_seconds(seconds: float | None) -> int | None:
    return None if seconds is None else max(0, int(seconds))


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
