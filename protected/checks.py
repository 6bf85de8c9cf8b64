"""System checks of this app's settings."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from protected.proxy import parse_rules


@register()
def check_proxy_rules(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    try:
        parse_rules(settings.API_PROXY_ALLOW)
    except ValueError as error:
        return [
            Error(
                f"API_PROXY_ALLOW cannot be read: {error}.",
                hint="It looks like: GET /protected-route, POST /orders",
                id="protected.E001",
            )
        ]
    return []
