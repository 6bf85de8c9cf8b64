"""What error reports must not show, in development neither: Django's error page prints local variables and cookies."""

from collections.abc import ItemsView
from types import FrameType
from typing import Any

from django.http import HttpRequest
from django.views.debug import SafeExceptionReporterFilter

# Their local variables are headers, bodies and tokens.
_PRIVATE_MODULES = ("accounts.", "requests.", "urllib3.", "http.", "jwt.", "cryptography.", "environ.")


class SecretsFilter(SafeExceptionReporterFilter):
    """Hides cookies, and the local variables of all code that handles tokens, whether DEBUG is on or off."""

    def is_active(self, request: HttpRequest | None) -> bool:
        return True

    def get_safe_cookies(self, request: HttpRequest) -> dict[str, Any]:
        """The names of the cookies alone."""
        return dict.fromkeys(getattr(request, "COOKIES", {}), self.cleansed_substitute)

    def get_traceback_frame_variables(self, request: HttpRequest | None, tb_frame: FrameType) -> ItemsView[str, Any]:
        """None for a frame that handles tokens."""
        if f"{tb_frame.f_globals.get('__name__', '')}.".startswith(_PRIVATE_MODULES):
            return {}.items()
        return super().get_traceback_frame_variables(request, tb_frame)
