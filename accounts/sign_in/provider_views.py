"""Signing in at the provider, for `oauth2`: the button, the way back, and the way out."""

import logging
from urllib.parse import urlencode, urlsplit

from django.http import Http404, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from accounts.api import ApiRequest
from accounts.browser.error_responses import next_page
from accounts.conf import conf
from accounts.dialects import current_dialect
from accounts.dialects.base import PasswordDialect
from accounts.dialects.oauth2 import OAuth2Dialect
from accounts.exceptions import RETRY_AFTER_SECONDS, ApiError, ApiUnavailable, CredentialsRefused, TooManyAttempts
from accounts.sign_in.authorization_request import AuthorizationRequest
from accounts.sign_in.id_token_hint import delete_id_token_cookie, read_id_token_cookie, set_id_token_cookie
from accounts.sign_in.sign_in import begin_sign_in_at_provider, finish_sign_in_at_provider
from accounts.text import clean_text

logger = logging.getLogger(__name__)

UNKNOWN_SIGN_IN = (
    "This browser has not begun such a sign-in, or more than 15 minutes ago, or it was completed already. That happens "
    "when an old page is opened again, or when cookies are switched off."
)
PROVIDER_AWAY = "The service that signs you in is not answering. Please try again in a moment."
PROVIDER_UNUSABLE = (
    "The service that signs you in gave an answer that this site cannot use. If it happens again, tell whoever runs "
    "this site: the log says more."
)
_NEEDS_A_PERSON = "The service that signs you in wants to ask you something first. Please try again."
#: What the provider may send a browser back with (RFC 6749 section 4.1.2.1, OpenID Connect Core section 3.1.2.6).
PROVIDER_ERRORS = {
    "access_denied": ("The sign-in was declined, by you or by the service that signs you in.", 403),
    "temporarily_unavailable": (PROVIDER_AWAY, 503),
    "server_error": (PROVIDER_AWAY, 503),
    "login_required": (_NEEDS_A_PERSON, 403),
    "consent_required": (_NEEDS_A_PERSON, 403),
    "interaction_required": (_NEEDS_A_PERSON, 403),
    "account_selection_required": (_NEEDS_A_PERSON, 403),
}


def login_at_provider(request: ApiRequest) -> HttpResponse:
    """The sign-in page of `oauth2`: a button, and what it does."""
    if request.method != "POST":
        wanted = request.GET.get("next", "")
        if request.api_session.is_signed_in():
            return HttpResponseRedirect(next_page(request, wanted))
        return _provider_page(request, wanted)
    wanted = request.POST.get("next", "")
    try:
        return begin_sign_in_at_provider(request, _dialect(), wanted)
    except ApiUnavailable as error:
        response = _provider_page(request, wanted, error=PROVIDER_AWAY, status=503)
        response["Retry-After"] = str(error.retry_after)
    except ApiError as error:
        logger.error("sign-in: %s", error)
        response = _provider_page(request, wanted, error=PROVIDER_UNUSABLE, status=502)
    return response


@never_cache
@require_GET
def callback(request: ApiRequest) -> HttpResponse:
    """The redirect URI of `oauth2`: back from the provider, with a code or with an error (RFC 6749 section 4.1.2)."""
    dialect, query = _dialect(), _take_query(request)
    asked = AuthorizationRequest.read(request.COOKIES, query.get("state", ""))
    if asked is None:
        # Nothing that the address says counts: anybody can have made it up.
        return _sign_in_failed(request, UNKNOWN_SIGN_IN, status=400)
    response = _finish_sign_in(request, dialect, asked, query)
    asked.forget(response)
    return response


def signed_out_page(request: ApiRequest) -> HttpResponse:
    """The answer to a sign-out here: on to the provider's own, where it has one.

    A page, and no redirect: the policy of the page with the form (form-action) would stop the browser on its way.
    """
    url = _sign_out_url(request, id_token="")
    if url is None:
        return HttpResponseRedirect("/")
    return render(request, "accounts/signed_out.html", {"provider": urlsplit(url).hostname})


@never_cache
@require_GET
def logout_at_provider(request: ApiRequest) -> HttpResponse:
    """Send a browser that is signed out here to the provider's sign-out, from where it comes back to the home page."""
    _dialect()
    if request.api_session.is_signed_in():
        # No link from elsewhere signs anybody out.
        return HttpResponseRedirect("/")
    response = HttpResponseRedirect(_sign_out_url(request, read_id_token_cookie(request.COOKIES)) or "/")
    delete_id_token_cookie(response)
    return response


def signs_in_at_provider() -> bool:
    """Whether the dialect takes no passwords."""
    return not isinstance(current_dialect(), PasswordDialect)


def _provider_page(request: ApiRequest, wanted: str, *, error: str = "", status: int = 200) -> HttpResponse:
    addresses = [conf.oauth_issuer, conf.oauth_endpoints.get("authorization_endpoint", "")]
    provider = urlsplit(next(filter(None, addresses), ""))
    context = {"next": wanted, "ended": "ended" in request.GET, "provider": provider.hostname, "error": error}
    response = render(request, "accounts/login_at_provider.html", context, status=status)
    # The button's answer leads to the provider, and from there perhaps to others: a browser that follows them checks
    # each against the policy of the page that holds the form.
    in_the_clear = [urlsplit(address) for address in addresses if address.startswith("http:")]
    targets = ["https:", *(f"http://{address.netloc}" for address in in_the_clear)]
    response._csp_update = {"form-action": targets}  # type: ignore[attr-defined]  # what django-csp's decorator sets
    return response


def _take_query(request: ApiRequest) -> QueryDict:
    """What the browser brought. It is taken off the request: error reports show addresses, and this one has a code."""
    query, request.GET = request.GET, QueryDict()
    request.META["QUERY_STRING"] = ""
    # Servers put it here once more.
    for name in {"REQUEST_URI", "RAW_URI"} & request.META.keys():
        request.META[name] = request.path
    return query


def _finish_sign_in(
    request: ApiRequest, dialect: OAuth2Dialect, asked: AuthorizationRequest, query: QueryDict
) -> HttpResponse:
    """On to where the visitor wanted to go; or a page that says what went wrong, and how to try again."""
    code, issuer = query.get("code", ""), query.get("iss")
    try:
        if "error" in query or not code:
            if issuer is not None:
                dialect.check_issuer(issuer)
            return _refused_by_provider(request, asked, query)
        signed_in = finish_sign_in_at_provider(request, dialect, asked, code=code, issuer=issuer)
    except CredentialsRefused as refused:
        return _sign_in_failed(request, refused.message, status=400, wanted=asked.next)
    except TooManyAttempts as error:
        return _sign_in_failed(request, error.message, status=429, wanted=asked.next, retry_after=error.retry_after)
    except ApiUnavailable as error:
        return _sign_in_failed(request, PROVIDER_AWAY, status=503, wanted=asked.next, retry_after=error.retry_after)
    except ApiError as error:
        logger.error("sign-in: %s", error)
        return _sign_in_failed(request, PROVIDER_UNUSABLE, status=502, wanted=asked.next)
    response = HttpResponseRedirect(next_page(request, asked.next))
    set_id_token_cookie(response, signed_in.id_token)
    return response


def _refused_by_provider(request: ApiRequest, asked: AuthorizationRequest, query: QueryDict) -> HttpResponse:
    """The page for an error that the provider sent back with the browser (RFC 6749 section 4.1.2.1)."""
    error = clean_text(query.get("error"), 100)
    detail, status = PROVIDER_ERRORS.get(error, (PROVIDER_UNUSABLE, 502))
    logger.log(
        logging.ERROR if status == 502 else logging.INFO, "the provider refused a sign-in: %r", error or "no code"
    )
    words = clean_text(query.get("error_description"), 300)
    return _sign_in_failed(request, detail, status=status, wanted=asked.next, words=words)


def _sign_in_failed(
    request: ApiRequest,
    detail: str,
    *,
    status: int,
    wanted: str = "",
    words: str = "",
    retry_after: int = RETRY_AFTER_SECONDS,
) -> HttpResponse:
    """What went wrong, with a way to try again. `words` are the provider's own; `retry_after` is for a 429 or 503."""
    if status in (400, 403) and request.api_session.is_signed_in():
        # Another tab was quicker, or the way back led here once more.
        return HttpResponseRedirect(next_page(request, wanted))
    login = reverse("accounts:login") + (f"?{urlencode({'next': wanted})}" if wanted else "")
    context = {"detail": detail, "words": words, "login": login}
    response = render(request, "accounts/sign_in_failed.html", context, status=status)
    if status in (429, 503):
        response["Retry-After"] = str(retry_after)
    return response


def _sign_out_url(request: ApiRequest, id_token: str) -> str | None:
    """Where the provider ends its own session; None where there is no such place, or it is not known now."""
    try:
        return _dialect().sign_out_url(id_token=id_token, return_to=request.build_absolute_uri("/"))
    except ApiError:
        return None


def _dialect() -> OAuth2Dialect:
    """Raises Http404 where nobody signs in at a provider."""
    dialect = current_dialect()
    if not isinstance(dialect, OAuth2Dialect) or not signs_in_at_provider():
        raise Http404
    return dialect
