"""`{% url %}` and `{% static %}` for all templates: an address that is always the same is looked up once.

As built-in tags (TEMPLATES in settings.py) they replace Django's of the same names. After `{% load static %}`,
a template has Django's own `{% static %}`.
"""

from functools import lru_cache
from typing import Any

from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.files.storage import Storage, storages
from django.template import Context, Library, Node
from django.template.base import FilterExpression, Parser, Token
from django.template.defaulttags import URLNode
from django.template.defaulttags import url as parse_url
from django.templatetags.static import StaticNode, do_static
from django.urls import URLResolver, get_resolver, get_script_prefix, get_urlconf, reverse
from django.utils.html import conditional_escape
from django.utils.translation import get_language

register = Library()


class FixedURLNode(URLNode):
    """`{% url 'name' %}`: the name is written in the template, and there are no arguments."""

    def render(self, context: Context) -> str:
        if not context.autoescape:
            return super().render(context)
        request: Any = getattr(context, "request", None)
        resolver, prefix = _resolver_and_prefix(request)
        return _address(resolver, self.view_name.var, _current_app(request), prefix, get_language())


class FixedStaticNode(StaticNode):
    """`{% static 'path' %}`: the path is written in the template."""

    def render(self, context: Context) -> str:
        if not context.autoescape:
            return super().render(context)
        return _static_address(storages["staticfiles"], self.path.var)


@register.tag
def url(parser: Parser, token: Token) -> Node:
    node = parse_url(parser, token)
    if node.args or node.kwargs or node.asvar or not _is_fixed(node.view_name):
        return node
    return FixedURLNode(node.view_name, [], {}, None)


@register.tag
def static(parser: Parser, token: Token) -> Node:
    node = do_static(parser, token)
    return node if node.varname or not _is_fixed(node.path) else FixedStaticNode(None, node.path)


def _is_fixed(expression: FilterExpression) -> bool:
    """Whether the template has the text itself: no variable, no filter."""
    return isinstance(expression.var, str) and not expression.filters


def _resolver_and_prefix(request: Any) -> tuple[URLResolver, str]:
    """They stay the same for a whole request, and Django looks them up for each address."""
    found: tuple[URLResolver, str] | None = getattr(request, "_resolver_and_prefix", None)
    if found is None:
        found = get_resolver(get_urlconf()), get_script_prefix()
        if request is not None:
            request._resolver_and_prefix = found
    return found


def _current_app(request: Any) -> str | None:
    """The namespace of the page, as in Django's tag: a name may have another address there."""
    namespace = getattr(getattr(request, "resolver_match", None), "namespace", None)
    current_app: str | None = getattr(request, "current_app", namespace)
    return current_app


@lru_cache(maxsize=512)
def _address(resolver: URLResolver, name: str, current_app: str | None, prefix: str, language: str) -> str:
    """All that the address depends on is an argument. `resolver` is a new object whenever ROOT_URLCONF changes."""
    return conditional_escape(reverse(name, current_app=current_app))


@lru_cache(maxsize=512)
def _static_address(storage: Storage, path: str) -> str:
    """`storage` is a new object whenever STORAGES changes."""
    return conditional_escape(staticfiles_storage.url(path))
