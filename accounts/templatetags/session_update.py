"""`{% session_update %}`: where a streamed template may carry the rotated session."""

from typing import Any

from django import template
from django.utils.safestring import SafeString

from accounts.streaming import session_update as element

register = template.Library()


@register.simple_tag(takes_context=True)
def session_update(context: Any) -> SafeString:
    """`<session-update>` where the session has rotated, else nothing. The template is rendered with a request."""
    return element(context.request)
