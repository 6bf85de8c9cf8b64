"""System checks of API_PROXY_ALLOW."""

from collections.abc import Iterator

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

from protected.proxy import parse_rules


@register()
def check_proxy_rules(**kwargs: object) -> Iterator[CheckMessage]:
    try:
        parse_rules(settings.API_PROXY_ALLOW)
    except ValueError as error:
        yield Error(
            f"API_PROXY_ALLOW cannot be parsed: {error}.",
            hint="Write it like: GET /protected-route, POST /orders",
            id="protected.E001",
        )


@register(Tags.security, deploy=True)
def check_proxy_width(**kwargs: object) -> Iterator[CheckMessage]:
    try:
        rules = parse_rules(settings.API_PROXY_ALLOW)
    except ValueError:
        return
    if opened := sorted({rule.method for rule in rules if rule.prefix == "/"}):
        yield Warning(
            f"API_PROXY_ALLOW lets scripts send {', '.join(opened)} to all paths of the API, also to its sign-in.",
            hint="List only the paths that your pages need.",
            id="protected.W001",
        )
