"""The sign-in of a user who may be signed in already, for a page that needs a recent sign-in or one of another kind.

The sign-in page has the parameters `max_age` and `acr_values` then. `accounts.fresh_sign_in` and the API ask for it.
"""

import logging

from django.http import HttpResponse
from django.shortcuts import render

from accounts.api_client import ApiRequest
from accounts.browser.next_page import sign_in_address, why_not_fresh
from accounts.session.freshness import Freshness, read_freshness

logger = logging.getLogger(__name__)


def is_signed_in_as_asked(request: ApiRequest) -> bool:
    """Whether the sign-in page has nothing to ask: the user is signed in, and as its parameters say."""
    return (
        request.api_session.is_signed_in()
        and "switch" not in request.GET
        # The API would only ask again, and the browser would be redirected in a circle.
        and "again" not in request.GET
        and is_met(request, read_freshness(request.GET))
    )


def fresh_notice(request: ApiRequest) -> str:
    """What the sign-in page says to a user whose sign-in is not as the next page asks; "" if it asks for nothing."""
    if "again" in request.GET:
        return "The service behind this site does not accept your present sign-in for this page."
    freshness = read_freshness(request.POST or request.GET)
    return why_not_fresh(freshness) if freshness else ""


def must_sign_in_again(request: ApiRequest, freshness: Freshness) -> bool:
    """Whether the provider has to ask for the password (prompt=login). Not every provider knows max_age."""
    return freshness.max_age is not None and request.api_session.current_unchecked() is not None


def is_met(request: ApiRequest, freshness: Freshness) -> bool:
    session = request.api_session.current_unchecked()
    return session is None or freshness.is_met(session)


def not_fresh_page(request: ApiRequest, freshness: Freshness, next_url: str) -> HttpResponse | None:
    """The page after a sign-in at the provider that is not as the next page asks: that one would only ask again.

    None if it is.
    """
    if is_met(request, freshness):
        return None
    logger.warning("the provider did not sign the user in as asked: %s", " and ".join(freshness.parameters()))
    context = {
        "is_kind": not is_met(request, Freshness(acr_values=freshness.acr_values)),
        "login": sign_in_address(next_url, freshness=freshness),
    }
    return render(request, "accounts/sign_in_not_fresh.html", context, status=403)


def not_offered_page(request: ApiRequest) -> HttpResponse:
    """The page for a kind of sign-in, on a site that has only one kind."""
    return render(request, "accounts/sign_in_not_fresh.html", status=403)
