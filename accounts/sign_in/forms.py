"""The sign-in form."""

from typing import Any

from django import forms

from accounts.dialects import current_dialect
from accounts.dialects.base import PasswordDialect


class SignInForm(forms.Form):
    """User name and password. The API checks them."""

    username = forms.CharField(
        max_length=254,
        widget=forms.TextInput(attrs={"autocomplete": "username", "autocapitalize": "none", "spellcheck": "false"}),
    )
    password = forms.CharField(
        max_length=4096, strip=False, widget=forms.PasswordInput(attrs={"autocomplete": "current-password"})
    )
    # Any text: next_page() checks that it leads to this site.
    next = forms.Field(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        username, dialect = self.fields["username"], current_dialect()
        by_email = isinstance(dialect, PasswordDialect) and dialect.name_field() == "email"
        username.label = "Email" if by_email else "User name"
        if username.label == "Email":
            username.widget.attrs["inputmode"] = "email"
        for field in self.visible_fields():
            field.field.widget.attrs["aria-describedby"] = f"{field.auto_id}_errors"
            if field.errors:
                field.field.widget.attrs["aria-invalid"] = "true"
