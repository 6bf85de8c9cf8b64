"""The way to the sign-in page and back: `next`, the page that the user wanted, and why their session ended."""

from urllib.parse import urlencode

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest
from django.shortcuts import resolve_url
from django.urls import reverse
from django.utils.encoding import uri_to_iri
from django.utils.http import MAX_URL_LENGTH, url_has_allowed_host_and_scheme

from accounts.conf import conf
from accounts.exceptions import SessionEnded, SignInRequired
from accounts.models import EndReason
from accounts.session.freshness import Freshness, FreshSignInRequired
from accounts.text import duration_in_words

#: In UTF-8. The address of the sign-in page has three characters for each byte, and servers accept 8190 characters.
MAX_NEXT_BYTES = 2700
# Up to this size, `next` is kept as it was sent.
_SHORT_BYTES = 1000
# The other reasons are the same for the user.
_TOLD_REASONS = (EndReason.MAX_AGE, EndReason.IDLE, EndReason.BY_PROVIDER)


def why_ended(reason: str) -> str:
    """What a user is told about the end of their session: a sentence."""
    if reason == EndReason.MAX_AGE and conf.max_age is not None:
        return f"Your session ended after {duration_in_words(conf.max_age)}."
    if reason == EndReason.IDLE and conf.idle_timeout is not None:
        return f"Your session ended because you did not use it for {duration_in_words(conf.idle_timeout)}."
    if reason == EndReason.BY_PROVIDER:
        return "Your session ended because the service that signs you in ended it."
    return "Your session has ended."


def why_not_fresh(freshness: Freshness) -> str:
    """What a user is told whose sign-in is not as `freshness` asks: a sentence."""
    if freshness.acr_values:
        return "This needs another kind of sign-in, such as one with a second factor."
    return "This needs a recent sign-in."


def sign_in_address(
    next_url: str, *, switch: bool = False, ended: str = "", freshness: Freshness | None = None, again: bool = False
) -> str:
    """The address of the sign-in page, which leads back to `next_url`.

    With `switch` it shows the form to a signed-in user, too, with `freshness` to one whose sign-in is not as that asks,
    and with `again` to one whose sign-in is. `ended` is the reason for the end of a session (`SessionEnded.reason`),
    for the page to tell the user.
    """
    query = {"switch": "1"} if switch else {}
    if short := shorten(next_url):
        query["next"] = short
    if ended:
        query["ended"] = ended if ended in _TOLD_REASONS else "1"
    if freshness is not None:
        query |= freshness.parameters()
    if again:
        query["again"] = "1"
    address = reverse("accounts:login")
    return f"{address}?{urlencode(query)}" if query else address


def address_for(error: SignInRequired, next_url: str) -> str:
    """The address of the sign-in page that tells the user of `error`, and leads back to `next_url`."""
    if isinstance(error, FreshSignInRequired):
        return sign_in_address(next_url, ended=error.reason, freshness=error.freshness, again=error.again)
    return sign_in_address(next_url, ended=error.reason if isinstance(error, SessionEnded) else "")


def shorten(url: str) -> str:
    """`url` as the sign-in page and its cookie can carry it. If it is too long: without its query, or else "".

    Each `%` in the query of the sign-in page becomes `%25`. So the escapes of a long URL are decoded.
    """
    encoded = url.encode(errors="replace")
    if len(encoded) <= _SHORT_BYTES:
        return url
    iri = uri_to_iri(encoded)
    return next((form for form in (iri, iri.partition("?")[0]) if _fits(form)), "")


def next_page(request: HttpRequest, url: str) -> str:
    """The page after sign-in: `url` if it leads to this site, else LOGIN_REDIRECT_URL."""
    short = shorten(url)
    return short if short and is_own_url(request, short) else resolve_url(settings.LOGIN_REDIRECT_URL)


def is_own_url(request: HttpRequest, url: str) -> bool:
    """Whether `url` leads to this site. The sign-in page must not redirect users elsewhere (an open redirect)."""
    try:
        host = request.get_host()
    except DisallowedHost:
        # The page that says so asks for the way back, too.
        return False
    return url_has_allowed_host_and_scheme(url, allowed_hosts={host}, require_https=request.is_secure())


def _fits(iri: str) -> bool:
    # is_own_url() accepts no more characters.
    return len(iri) <= MAX_URL_LENGTH and len(iri.encode()) <= MAX_NEXT_BYTES
