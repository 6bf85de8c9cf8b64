"""The sign-in of staff to the admin, with the same rate limits as the sign-in of users."""

from typing import Any

from django.conf import settings
from django.contrib.admin import AdminSite
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse

from accounts.browser.client_address import client_address
from accounts.exceptions import TooManyAttempts
from accounts.sign_in.rate_limit import rate_limited_attempt


class StaffSignInForm(AdminAuthenticationForm):
    """User name and password of a staff user. `too_many` is set if a rate limit refused the attempt."""

    too_many: TooManyAttempts | None = None

    def clean(self) -> dict[str, Any]:
        name = self.cleaned_data.get("username", "")
        if not (name and self.cleaned_data.get("password")):
            return super().clean()
        address = client_address(self.request) if self.request else ""
        try:
            with rate_limited_attempt(address, name, realm="staff", failure=ValidationError):
                return super().clean()
        except TooManyAttempts as error:
            self.too_many = error
            raise ValidationError(error.message) from error


class StaffSite(AdminSite):
    site_header = site_title = f"{getattr(settings, 'SITE_NAME', 'API session')}: administration"
    login_form = StaffSignInForm

    @login_not_required
    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        response = super().login(request, extra_context)
        form = (getattr(response, "context_data", None) or {}).get("form")
        if isinstance(form, StaffSignInForm) and form.too_many:
            response.status_code = 429
            response["Retry-After"] = str(form.too_many.retry_after)
        return response
