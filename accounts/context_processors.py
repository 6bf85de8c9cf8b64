"""What `base.html` shows on every page: the name of the site, who is signed in, the ways in and out, the request id."""

from functools import cached_property, partial
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from accounts.browser.error_responses import next_path
from accounts.browser.next_page import sign_in_address
from accounts.browser.session import BrowserSession
from accounts.browser.user import AnyUser, ApiUser
from accounts.exceptions import ApiUnavailable
from accounts.telemetry.request_id import current_request_ids


class Account:
    """Who is signed in, and the ways to the sign-in. It reads the session only if a template asks who is signed in."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    @cached_property
    def user(self) -> ApiUser | None:
        """The API's user, also in the admin and on error pages: a check of the session that failed is not repeated."""
        keep_out_of_cache(self._request)
        browser: BrowserSession | None = getattr(self._request, "api_session", None)
        if browser is None:
            # An outer middleware refused the request, because of its host.
            return None
        try:
            session = browser.current_unchecked() if browser.accessed else browser.current
        except ApiUnavailable:
            session = browser.current_unchecked()
        return ApiUser.of(session.user) if session else None

    @property
    def sign_in_url(self) -> str:
        """The sign-in page, which leads back to this page. From the home page it leads to LOGIN_REDIRECT_URL."""
        return sign_in_address(self._page)

    @property
    def switch_url(self) -> str:
        """The same for a user who is signed in with another account."""
        return sign_in_address(self._page, switch=True)

    @cached_property
    def _page(self) -> str:
        path = next_path(self._request)
        return "" if path == "/" else path


def page(request: HttpRequest) -> dict[str, Any]:
    """`user` is `request.user`, or `account.user` if the session cannot be checked: no error on an error page."""
    account = Account(request)
    return {
        "site_name": settings.SITE_NAME,
        "request_id": current_request_ids().request_id,
        "account": account,
        "user": SimpleLazyObject(partial(_user, request, account)),
    }


def _user(request: HttpRequest, account: Account) -> AnyUser:
    keep_out_of_cache(request)
    if not hasattr(request, "user"):
        # A middleware before UserMiddleware has refused the request.
        return AnonymousUser()
    try:
        # It may be a user that a view or a test has set.
        user: AnyUser = request.user
        user.is_authenticated  # noqa: B018 - looks up a lazy user
    except ApiUnavailable:
        return account.user or AnonymousUser()
    return user


def keep_out_of_cache(request: HttpRequest) -> None:
    """Django's `cache_page` stores a response before a middleware has set `Vary`. All would get one browser's page."""
    request._cache_update_cache = False  # type: ignore[attr-defined]
