"""System checks of API_PROXY_ALLOW."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

from protected.proxy import parse_rules


@register()
def check_proxy_rules(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    try:
        parse_rules(settings.API_PROXY_ALLOW)
    except ValueError as error:
        return [
            Error(
                f"API_PROXY_ALLOW cannot be parsed: {error}.",
                hint="Write it like: GET /protected-route, POST /orders",
                id="protected.E001",
            )
        ]
    return []


@register(Tags.security, deploy=True)
def check_proxy_width(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    try:
        opened = sorted({rule.method for rule in parse_rules(settings.API_PROXY_ALLOW) if rule.prefix == "/"})
    except ValueError:
        return []
    if opened:
        return [
            Warning(
                f"API_PROXY_ALLOW lets scripts send {', '.join(opened)} to all paths of the API, also to its sign-in.",
                hint="List only the paths that your pages need.",
                id="protected.W001",
            )
        ]
    return []
