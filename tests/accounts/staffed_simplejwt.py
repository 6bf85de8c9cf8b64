"""`python -m tests.accounts.staffed_simplejwt`: the SimpleJWT program, whose staff can shut a user out."""

from importlib import import_module
from types import ModuleType
from typing import Any

from django.contrib.auth import get_user_model

from tests.real_apis import serving
from tests.real_apis.apis import SimpleJwtApi
from tests.real_apis.simplejwt.__main__ import main


class StaffedApi(SimpleJwtApi):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._command = ("tests.accounts.staffed_simplejwt", *self._command[1:])

    def set_active(self, email: str, active: bool) -> None:
        """Whether this user may sign in, and stay so."""
        self.program.order("set_active", email, active)

    def delete(self, email: str) -> None:
        """Remove a user for good."""
        self.program.order("delete", email)


def set_active(email: str, active: bool) -> None:
    get_user_model().objects.filter(email=email).update(is_active=active)


def delete(email: str) -> None:
    get_user_model().objects.get(email=email).delete()


def import_with_staff(name: str) -> ModuleType:
    module = import_module(name)
    if name.endswith(".orders"):
        vars(module).update(set_active=set_active, delete=delete)
    return module


if __name__ == "__main__":
    vars(serving)["import_module"] = import_with_staff
    main()
