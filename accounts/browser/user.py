"""`request.user`: who is signed in at the API. Below the admin's addresses it is Django's own user."""

import json
from collections.abc import Iterable
from dataclasses import FrozenInstanceError
from functools import partial
from typing import Any

from django.contrib.auth.middleware import get_user as get_staff_user
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, Group, Permission
from django.db.models import Manager
from django.http import HttpRequest
from django.urls import Resolver404, resolve
from django.utils.functional import SimpleLazyObject

from accounts.database_pool import run_and_give_back
from accounts.exceptions import ApiUnavailable
from accounts.session.api_session import ApiSession
from accounts.session.tokens import User


class ApiUser(User):
    """The user who is signed in at the API, with what Django's decorators, mixins and templates look for.

    It has no row in the database, and none of Django's permissions.
    """

    # Other code may keep something of its own at the user, as at Django's, for the rest of the request.
    __slots__ = ("__dict__",)

    is_authenticated = True
    is_anonymous = False
    is_active = True
    is_staff = False
    is_superuser = False

    @classmethod
    def of(cls, user: User) -> "ApiUser":
        return cls(id=user.id, name=user.name, email=user.email, claims_by_source=user.claims_by_source)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, User) and self.has_id(other.id))

    def __hash__(self) -> int:
        return object.__hash__(self) if self.id == "" else hash(self.id)

    def __setattr__(self, name: str, value: object) -> None:
        if name in User.__slots__:
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        object.__setattr__(self, name, value)

    def renew_claims(self, user: User) -> None:
        object.__setattr__(self, "claims_by_source", user.claims_by_source)

    def __str__(self) -> str:
        return self.name

    @property
    def claims(self) -> dict[str, Any]:
        # A copy: a view that changes it must not change the session, which a response may write into the cookie.
        # By way of JSON, because deepcopy() fails for deep ones.
        copied: dict[str, Any] = json.loads(json.dumps(super().claims))
        return copied

    @property
    def pk(self) -> str:
        """Not the id alone: code that looks up Django's users with it must not find the row with this number."""
        return f"api:{self.id}" if self.id != "" else ""

    @property
    def username(self) -> str:
        return self.name

    def get_username(self) -> str:
        return self.name

    def get_full_name(self) -> str:
        return self.name

    def get_short_name(self) -> str:
        return self.name

    @property
    def groups(self) -> Manager[Group]:
        return AnonymousUser().groups

    @property
    def user_permissions(self) -> Manager[Permission]:
        return AnonymousUser().user_permissions

    def get_user_permissions(self, obj: object = None) -> set[str]:
        return set()

    def get_group_permissions(self, obj: object = None) -> set[str]:
        return set()

    def get_all_permissions(self, obj: object = None) -> set[str]:
        return set()

    def has_perm(self, perm: str, obj: object = None) -> bool:
        return False

    def has_perms(self, perm_list: Iterable[str], obj: object = None) -> bool:
        return False

    def has_module_perms(self, app_label: str) -> bool:
        return False

    async def ahas_perm(self, perm: str, obj: object = None) -> bool:
        return False

    async def ahas_perms(self, perm_list: Iterable[str], obj: object = None) -> bool:
        return False

    async def ahas_module_perms(self, app_label: str) -> bool:
        return False


AnyUser = ApiUser | AnonymousUser | AbstractBaseUser


def set_user(request: HttpRequest) -> None:
    """Set `request.user` and `request.auser`. The first look at them reads the session. A sign-in and a sign-out call
    this again.
    """
    request.user = SimpleLazyObject(partial(get_user, request))  # type: ignore[assignment]
    request.auser = partial(_aget_user, request)  # type: ignore[assignment]


def renew_user(request: HttpRequest, user: User) -> None:
    """After a rotation, which can change the claims. The object stays: other code may keep something at it."""
    present = None if "admin" in _app_names(request) else getattr(request, "user", None)
    # A middleware may have put another user here, or a lazy object around this one.
    renew = getattr(present, "renew_claims", None)
    if renew is not None:
        renew(user)


def get_user(request: HttpRequest) -> AnyUser:
    """The user of the request at this moment. Raises ApiUnavailable as `request.api_session.current` does.

    The views of this app check the session themselves. For them it raises nothing: Django's LoginRequiredMiddleware
    looks at the user before the sign-in and the sign-out, too.
    """
    apps = _app_names(request)
    if "admin" in apps:
        return get_staff_user(request)
    session = request.api_session  # type: ignore[attr-defined]
    try:
        return user_of(session.current)
    except ApiUnavailable:
        if "accounts" not in apps:
            raise
        return user_of(session.current_unchecked())


def user_of(session: ApiSession | None) -> ApiUser | AnonymousUser:
    """The user of `session`; Django's AnonymousUser without a session."""
    return AnonymousUser() if session is None else ApiUser.of(session.user)


async def _aget_user(request: HttpRequest) -> AnyUser:
    return await run_and_give_back(get_user, request)


def _app_names(request: HttpRequest) -> list[str]:
    """The names of the apps to which the view belongs. Those of an AdminSite of any name and path contain "admin"."""
    match = request.resolver_match
    try:
        match = match or resolve(request.path_info, getattr(request, "urlconf", None))
    except Resolver404:
        return []
    return match.app_names
