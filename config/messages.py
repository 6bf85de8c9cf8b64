"""Django's messages, in a cookie that no other subdomain can set."""

from functools import cached_property
from typing import Any

from django.conf import settings
from django.contrib.messages.storage.base import BaseStorage
from django.contrib.messages.storage.cookie import CookieStorage
from django.core.signing import TimestampSigner, get_cookie_signer


class MessageStorage(CookieStorage):
    """Makes its signer when there is a message. Django's makes one for each request."""

    cookie_name = "__Host-messages" if settings.SESSION_COOKIE_SECURE else "messages"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        BaseStorage.__init__(self, *args, **kwargs)

    @cached_property
    def signer(self) -> TimestampSigner:
        return get_cookie_signer(salt=self.key_salt)
