"""`{% session_update %}`: the place in a streamed template where the session update may go."""

from typing import Any

from django import template
from django.utils.safestring import SafeString

from accounts.streaming import session_update as element

register = template.Library()


@register.simple_tag(takes_context=True)
def session_update(context: Any) -> SafeString:
    """`<session-update>` if the session has rotated, else "". The template's context needs the request."""
    return element(context.request)
