"""Removes secrets from error reports. Django's error page, also in development, prints local variables and cookies."""

from collections.abc import ItemsView
from types import FrameType
from typing import Any

from django.http import HttpRequest
from django.views.debug import SafeExceptionReporterFilter

# Their local variables are headers, bodies and tokens.
_SECRET_MODULES = ("accounts.", "requests.", "urllib3.", "http.", "jwt.", "cryptography.", "environ.")
# Django's handler calls each view through our middleware. That alone does not make the view's variables secret.
_DJANGO_HANDLERS = "django.core.handlers."


class SecretsFilter(SafeExceptionReporterFilter):
    """Hides cookies and the local variables of all code that handles tokens, whether DEBUG is on or off."""

    def is_active(self, request: HttpRequest | None) -> bool:
        return True

    def get_safe_cookies(self, request: HttpRequest) -> dict[str, Any]:
        """Keeps only the names of the cookies."""
        return dict.fromkeys(getattr(request, "COOKIES", {}), self.cleansed_substitute)

    def get_traceback_frame_variables(self, request: HttpRequest | None, tb_frame: FrameType) -> ItemsView[str, Any]:
        """No variables for a frame that handles tokens, or that was called by one: a custom dialect, json, ssl."""
        frame: FrameType | None = tb_frame
        while frame is not None and not _module_name(frame).startswith(_DJANGO_HANDLERS):
            if _module_name(frame).startswith(_SECRET_MODULES):
                return {}.items()
            frame = frame.f_back
        return super().get_traceback_frame_variables(request, tb_frame)


def _module_name(frame: FrameType) -> str:
    return f"{frame.f_globals.get('__name__', '')}."
