"""What error reports must not show, in development neither: Django's error page prints local variables and cookies."""

from collections.abc import ItemsView
from types import FrameType
from typing import Any

from django.http import HttpRequest
from django.views.debug import SafeExceptionReporterFilter

# Their local variables are headers, bodies and tokens.
_PRIVATE_MODULES = ("accounts.", "requests.", "urllib3.", "http.", "jwt.", "cryptography.", "environ.")
# Django's handler calls every view through our middleware, which does not make the view's variables secret.
_PAST_OUR_CODE = "django.core.handlers."


class SecretsFilter(SafeExceptionReporterFilter):
    """Hides cookies, and the local variables of all code that handles tokens, whether DEBUG is on or off."""

    def is_active(self, request: HttpRequest | None) -> bool:
        return True

    def get_safe_cookies(self, request: HttpRequest) -> dict[str, Any]:
        """The names of the cookies alone."""
        return dict.fromkeys(getattr(request, "COOKIES", {}), self.cleansed_substitute)

    def get_traceback_frame_variables(self, request: HttpRequest | None, tb_frame: FrameType) -> ItemsView[str, Any]:
        """None for a frame that handles tokens, or that such a frame called: a custom dialect, json, ssl."""
        frame: FrameType | None = tb_frame
        while frame is not None and not _module(frame).startswith(_PAST_OUR_CODE):
            if _module(frame).startswith(_PRIVATE_MODULES):
                return {}.items()
            frame = frame.f_back
        return super().get_traceback_frame_variables(request, tb_frame)


def _module(frame: FrameType) -> str:
    return f"{frame.f_globals.get('__name__', '')}."
