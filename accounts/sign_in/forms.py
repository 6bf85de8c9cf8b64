"""The sign-in form, which a script may also send as JSON."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.http import HttpRequest

from accounts.dialects import current_dialect
from accounts.dialects.base import PasswordDialect
from accounts.text import parse_json

_MAX_JSON_BYTES = 64 * 1024


class SignInForm(forms.Form):
    """User name and password. The API checks them."""

    username = forms.CharField(
        max_length=254,
        widget=forms.TextInput(attrs={"autocomplete": "username", "autocapitalize": "none", "spellcheck": "false"}),
    )
    password = forms.CharField(
        max_length=4096,
        strip=False,
        # A script can show the password, and spell checkers of browsers send what they can read to a service.
        widget=forms.PasswordInput(
            attrs={"autocomplete": "current-password", "autocapitalize": "none", "spellcheck": "false"}
        ),
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

    def choose_focus(self) -> None:
        """Focus the first field with an error; else the password if the user name is filled in, else the user name."""
        fields = list(self.visible_fields())
        if self.non_field_errors():
            for field in fields:
                field.field.widget.attrs["aria-describedby"] += " sign-in-error"
        filled = bool(self["username"].value())
        first = next((field for field in fields if field.errors), self["password"] if filled else self["username"])
        first.field.widget.attrs["autofocus"] = True

    def errors_in_words(self) -> str:
        """All errors in one text: "username: This field is required."."""
        return " ".join(f"{name}: {' '.join(map(str, errors))}" for name, errors in self.errors.items())


def has_json(request: HttpRequest) -> bool:
    return request.content_type == "application/json"


def posted_fields(request: HttpRequest) -> Mapping[str, Any]:
    """The fields of a form, or the same as JSON. A value that is no text counts as missing. Raises ValueError."""
    if not has_json(request):
        return request.POST
    try:
        if int(request.META.get("CONTENT_LENGTH") or 0) > _MAX_JSON_BYTES:
            raise ValueError("too large")
        body = parse_json(request.body)
        fields = {name: body[name] for name in ("username", "password") if isinstance(body.get(name), str)}
        for value in fields.values():
            value.encode()  # half a surrogate pair is no text
    except (ValueError, AttributeError, RecursionError) as error:
        raise ValueError('The body has to be JSON, such as {"username": "ada", "password": "..."}.') from error
    return fields
