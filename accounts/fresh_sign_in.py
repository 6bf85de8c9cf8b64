"""Views that need a recent sign-in, or one of a certain kind: with a second factor, for example.

@require_fresh_sign_in(max_age=300)
def close_account(request: ApiRequest) -> HttpResponse: ...
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest
from django.utils.asyncio import async_unsafe

from accounts.database_pool import run_and_give_back
from accounts.exceptions import NotSignedIn, SessionEnded
from accounts.session.freshness import MIN_AGE_SECONDS, Freshness, FreshSignInRequired

View = TypeVar("View", bound=Callable[..., Any])


def require_fresh_sign_in(*, max_age: int | None = None, acr_values: str = "") -> Callable[[View], View]:
    """A decorator for a view: the user has to sign in again, unless they did so in the last `max_age` seconds, and in
    one of the ways that `acr_values` lists, separated by spaces (OpenID Connect Core 3.1.2.1).

    Then they come back to the page. `max_age` is 60 or more. For `async def` views too, and for `MyView.as_view()`.
    """
    freshness = _freshness(max_age, acr_values)

    def decorate(view: View) -> View:
        @wraps(view)
        def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            _check(request, freshness)
            return view(request, *args, **kwargs)

        @wraps(view)
        async def achecked(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            await run_and_give_back(_check, request, freshness)
            return await view(request, *args, **kwargs)

        return cast("View", achecked if iscoroutinefunction(view) else checked)

    return decorate


@async_unsafe("check_fresh_sign_in() was called in an async def view: write `await acheck_fresh_sign_in(...)`.")
def check_fresh_sign_in(request: HttpRequest, *, max_age: int | None = None, acr_values: str = "") -> None:
    """The same check inside a view. Raises FreshSignInRequired, which is a SignInRequired, or ApiUnavailable."""
    _check(request, _freshness(max_age, acr_values))


async def acheck_fresh_sign_in(request: HttpRequest, *, max_age: int | None = None, acr_values: str = "") -> None:
    """`check_fresh_sign_in`, for an `async def` view."""
    await run_and_give_back(_check, request, _freshness(max_age, acr_values))


def _check(request: HttpRequest, freshness: Freshness) -> None:
    try:
        # Checks the record too: the user acts here, perhaps without a call to the API.
        session = request.api_session.require_verified()  # type: ignore[attr-defined]
    except (NotSignedIn, SessionEnded) as error:
        # The sign-in that follows should be of the right kind at once.
        reason = error.reason if isinstance(error, SessionEnded) else ""
        raise FreshSignInRequired(freshness, reason=reason) from error
    if not freshness.is_met(session):
        raise FreshSignInRequired(freshness)


def _freshness(max_age: int | None, acr_values: str) -> Freshness:
    freshness = Freshness(max_age=max_age, acr_values=" ".join(acr_values.split()))
    if not freshness or (max_age is not None and max_age < MIN_AGE_SECONDS):
        raise ValueError(f"max_age must be {MIN_AGE_SECONDS} seconds or more, and one of max_age and acr_values is set")
    return freshness
