"""Sign-in at an OAuth 2.0 provider: the page with the button, the callback, and the sign-out at the provider."""

import logging
from urllib.parse import urlsplit

from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, QueryDict
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from accounts.api_client import ApiRequest
from accounts.browser.error_responses import developer_context
from accounts.browser.id_token_hint import delete_id_token_cookie, read_id_token_cookie, set_id_token_cookie
from accounts.browser.next_page import next_page, sign_in_address, why_ended
from accounts.conf import conf
from accounts.dialects import current_dialect
from accounts.dialects.base import PasswordDialect
from accounts.dialects.oauth2 import OAuth2Dialect
from accounts.exceptions import (
    RETRY_AFTER_SECONDS,
    AlreadyUsed,
    ApiError,
    ApiUnavailable,
    CredentialsRefused,
    RequestRefused,
    TooManyAttempts,
    WrongIssuer,
    in_words,
)
from accounts.session.freshness import ANY_SIGN_IN, read_freshness
from accounts.sign_in.authorization_request import AuthorizationRequest, further_parameters
from accounts.sign_in.fresh_sign_in import (
    fresh_notice,
    is_met,
    is_signed_in_as_asked,
    must_sign_in_again,
    not_fresh_page,
)
from accounts.sign_in.provider_errors import (
    PROVIDER_ERRORS,
    PROVIDER_UNAVAILABLE,
    PROVIDER_UNUSABLE,
    REQUEST_REFUSED,
    TOO_MANY_BEGUN,
    UNKNOWN_SIGN_IN,
)
from accounts.sign_in.sign_in import (
    begin_sign_in_at_provider,
    finish_sign_in_at_provider,
    say_signed_in,
    say_signed_out,
)
from accounts.text import clean_text

logger = logging.getLogger(__name__)


def login_at_provider(request: ApiRequest) -> HttpResponse:
    """The sign-in page for `oauth2`: a button that leads to the provider."""
    if request.method != "POST":
        next_url = request.GET.get("next", "")
        if is_signed_in_as_asked(request):
            return HttpResponseRedirect(next_page(request, next_url))
        return _provider_page(request, next_url)
    next_url, freshness = request.POST.get("next", ""), read_freshness(request.POST)
    parameters = {**further_parameters(request.POST), **freshness.parameters()}
    switch = "switch" in request.POST or must_sign_in_again(request, freshness)
    try:
        return begin_sign_in_at_provider(
            request, _dialect(), next_url, switch=switch, freshness=freshness, parameters=parameters
        )
    except TooManyAttempts as error:
        message = TOO_MANY_BEGUN.format(in_words(error.retry_after))
        response = _provider_page(request, next_url, error=message, status=429)
        response["Retry-After"] = str(error.retry_after)
    except ApiUnavailable as error:
        logger.error("sign-in at the provider: %s", error)
        response = _provider_page(request, next_url, error=PROVIDER_UNAVAILABLE, status=503)
        response["Retry-After"] = str(error.retry_after)
    except RequestRefused as error:
        logger.error("sign-in at the provider: %s", error)
        response = _provider_page(request, next_url, error=REQUEST_REFUSED, words=error.words, status=502)
    except ApiError as error:
        logger.error("sign-in at the provider: %s", error)
        response = _provider_page(request, next_url, error=PROVIDER_UNUSABLE, status=502)
    return response


@login_not_required
@never_cache
def callback(request: ApiRequest) -> HttpResponse:
    """The redirect URI for `oauth2`. The provider sends a code or an error (RFC 6749 section 4.1.2)."""
    # First: Django logs the whole request with a 404 or 405.
    query = _take_query(request)
    if request.method != "GET":
        return HttpResponseNotAllowed(["GET"])
    dialect = _dialect()
    pending = AuthorizationRequest.read(request.COOKIES, query.get("state", ""))
    if pending is None:
        # Without a matching state, an attacker may have made up the whole query. Show none of it.
        return _sign_in_failed(request, UNKNOWN_SIGN_IN, status=400)
    if "error" in query or not query.get("code"):
        response = _provider_error(request, dialect, pending, query)
        pending.forget(response)
        return response
    try:
        response = _finish_sign_in(request, dialect, pending, query)
    except WrongIssuer as error:
        response = _api_failed(request, pending, error)
        pending.forget(response)
        return response
    pending.keep_for_repetition(response, presented=request.COOKIES)
    return response


def signed_out_page(request: ApiRequest) -> HttpResponse:
    """The response to a sign-out: a page that leads to the provider's sign-out, if the provider has one.

    It is not a redirect: the form-action of the page with the sign-out form would block a redirect to the provider.
    """
    url = _sign_out_url(request, id_token="")
    if url is None:
        say_signed_out(request)
        return HttpResponseRedirect("/")
    return render(request, "accounts/signed_out.html", {"provider": urlsplit(url).hostname})


@login_not_required
@never_cache
@require_GET
def logout_at_provider(request: ApiRequest) -> HttpResponse:
    """Redirect a signed-out browser to the provider's sign-out, which sends it back to the home page."""
    _dialect()
    if request.api_session.is_signed_in():
        # A link on another site must not sign the user out.
        return HttpResponseRedirect("/")
    response = HttpResponseRedirect(_sign_out_url(request, read_id_token_cookie(request.COOKIES)) or "/")
    delete_id_token_cookie(response)
    # For the page to which the provider sends the browser back.
    say_signed_out(request)
    return response


def ended_notice(request: ApiRequest) -> str:
    """What the sign-in page says about the session that has ended; "" if none has."""
    ended = request.api_session.ended
    reason = ended.reason if ended is not None else request.GET.get("ended")
    return "" if reason is None else why_ended(reason)


def signs_in_at_provider() -> bool:
    """Whether the dialect takes no passwords."""
    return not isinstance(current_dialect(), PasswordDialect)


def _provider_page(
    request: ApiRequest, next_url: str, *, error: str = "", words: str = "", status: int = 200
) -> HttpResponse:
    fields = request.POST or request.GET
    addresses = [conf.oauth_issuer, conf.oauth_endpoints.get("authorization_endpoint", "")]
    provider = urlsplit(next(filter(None, addresses), ""))
    # What the address of the page added may be what the provider refused: the button tries without it.
    further = {} if error == REQUEST_REFUSED else further_parameters(fields)
    context = {
        **(developer_context() if status in (502, 503) else {}),
        "next": next_url,
        "ended": ended_notice(request),
        "fresh": fresh_notice(request),
        "provider": provider.hostname,
        "parameters": {**further, **read_freshness(fields).parameters()},
        "error": error,
        "words": words,
    }
    response = render(request, "accounts/login_at_provider.html", context, status=status)
    # The button leads to the provider, which may redirect further. The browser checks each redirect against the
    # form-action of this page.
    plain_http = [urlsplit(address) for address in addresses if address.startswith("http:")]
    targets = ["https:", *(f"http://{address.netloc}" for address in plain_http)]
    response._csp_update = {"form-action": targets}  # type: ignore[attr-defined]  # what django-csp's decorator sets
    return response


def _take_query(request: ApiRequest) -> QueryDict:
    """The query, removed from the request: error reports show URLs, and this one has a code."""
    query, request.GET = request.GET, QueryDict()
    request.META["QUERY_STRING"] = ""
    # Some servers keep copies of the URL here.
    for name in {"REQUEST_URI", "RAW_URI"} & request.META.keys():
        request.META[name] = request.path
    return query


def _finish_sign_in(
    request: ApiRequest, dialect: OAuth2Dialect, pending: AuthorizationRequest, query: QueryDict
) -> HttpResponse:
    """A redirect to the page that the user wanted, or a page with the error and a link to try again.

    Raises WrongIssuer.
    """
    try:
        signed_in = finish_sign_in_at_provider(
            request, dialect, pending, code=query.get("code", ""), issuer=query.get("iss")
        )
    except AlreadyUsed:
        return _sign_in_failed(request, UNKNOWN_SIGN_IN, status=400, pending=pending)
    except CredentialsRefused as refused:
        return _sign_in_failed(request, refused.message, status=400, pending=pending)
    except TooManyAttempts as error:
        return _sign_in_failed(request, error.message, status=429, pending=pending, retry_after=error.retry_after)
    except WrongIssuer:
        raise
    except ApiError as error:
        return _api_failed(request, pending, error)
    response = not_fresh_page(request, pending.freshness, pending.next) or HttpResponseRedirect(
        next_page(request, pending.next)
    )
    if signed_in is not None:
        set_id_token_cookie(response, signed_in.id_token)
        say_signed_in(request)
    return response


def _provider_error(
    request: ApiRequest, dialect: OAuth2Dialect, pending: AuthorizationRequest, query: QueryDict
) -> HttpResponse:
    """The page for an error in the provider's redirect (RFC 6749 section 4.1.2.1)."""
    try:
        if (issuer := query.get("iss")) is not None:
            dialect.check_issuer(issuer)
    except ApiError as unusable:
        return _api_failed(request, pending, unusable)
    error = clean_text(query.get("error"), 100)
    detail, status = PROVIDER_ERRORS.get(error, (PROVIDER_UNUSABLE, 502))
    level = logging.ERROR if status == 502 else logging.INFO
    logger.log(level, "the provider refused a sign-in: %r", error or "no code")
    description = clean_text(query.get("error_description"), 300)
    return _sign_in_failed(request, detail, status=status, pending=pending, description=description)


def _api_failed(request: ApiRequest, pending: AuthorizationRequest, error: ApiError) -> HttpResponse:
    """The page for a provider that is unavailable, or whose response cannot be used."""
    logger.error("sign-in at the provider: %s", error)
    if isinstance(error, ApiUnavailable):
        return _sign_in_failed(
            request, PROVIDER_UNAVAILABLE, status=503, pending=pending, retry_after=error.retry_after
        )
    leads_on = not isinstance(error, WrongIssuer)
    return _sign_in_failed(request, PROVIDER_UNUSABLE, status=502, pending=pending, leads_on=leads_on)


def _sign_in_failed(
    request: ApiRequest,
    detail: str,
    *,
    status: int,
    pending: AuthorizationRequest | None = None,
    description: str = "",
    retry_after: int = RETRY_AFTER_SECONDS,
    leads_on: bool = True,
) -> HttpResponse:
    """The error page. `description` is the provider's text; `retry_after` is in seconds, for a 429 or 503.

    `leads_on` sends a signed-in user to the page that they wanted instead.
    """
    next_url, freshness = (pending.next, pending.freshness) if pending else ("", ANY_SIGN_IN)
    if request.api_session.is_signed_in() and leads_on and is_met(request, freshness):
        # Another tab has signed in, the browser opened the callback again, or it keeps the session that it had.
        return HttpResponseRedirect(next_page(request, next_url))
    context = {
        **(developer_context() if status in (502, 503) else {}),
        "detail": detail,
        "words": description,
        "login": sign_in_address(next_url, freshness=freshness),
        "leads_on": leads_on,
        "switch_url": sign_in_address(next_url, switch=True),
    }
    response = render(request, "accounts/sign_in_failed.html", context, status=status)
    if status in (429, 503):
        response["Retry-After"] = str(retry_after)
    return response


def _sign_out_url(request: ApiRequest, id_token: str) -> str | None:
    """The provider's sign-out URL; None if it has none, or the discovery document is unavailable."""
    try:
        return _dialect().sign_out_url(id_token=id_token, return_to=request.build_absolute_uri("/"))
    except ApiError:
        return None


def _dialect() -> OAuth2Dialect:
    """Raises Http404 if the dialect takes passwords."""
    dialect = current_dialect()
    if not isinstance(dialect, OAuth2Dialect) or not signs_in_at_provider():
        raise Http404
    return dialect
