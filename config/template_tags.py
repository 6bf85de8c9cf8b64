"""Template tags that replace Django's tags of the same names, and remember what is the same for each page.

They remember the addresses of `{% url %}` and `{% static %}`, and the places of the blocks in a page with
`{% extends %}` (`template_inheritance.py`). They are built-in tags (TEMPLATES in settings.py). After
`{% load static %}`, a template has Django's own `{% static %}`.
"""

from functools import lru_cache
from typing import Any

from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.files.storage import Storage, storages
from django.template import Context, Library, Node
from django.template.base import FilterExpression, Parser, Token
from django.template.defaulttags import URLNode
from django.template.defaulttags import url as parse_url
from django.template.loader_tags import do_extends
from django.templatetags.static import StaticNode, do_static
from django.urls import URLResolver, get_resolver, get_script_prefix, get_urlconf
from django.utils.html import conditional_escape
from django.utils.translation import get_language

from config.template_inheritance import LEAVES_VARIABLES, PlacingExtendsNode

register = Library()

#: The key in the context of one template's rendering.
_KNOWN = "known_addresses"


class FixedURLNode(URLNode):
    """`{% url 'name' %}`: the name is written in the template, and there are no arguments."""

    def __init__(self, view_name: FilterExpression) -> None:
        super().__init__(view_name, [], {}, None)
        self._name = view_name.var

    def render(self, context: Context) -> str:
        if not context.autoescape:
            return super().render(context)
        known: _Addresses | None = context.render_context.get(_KNOWN)
        if known is None:
            known = context.render_context[_KNOWN] = _known_addresses(context)
        # A template can change the language, and to ask for it takes longer than all else here.
        key = self._name, get_language() if known.depend_on_language else ""
        address = known.get(key)
        if address is None:
            address = known[key] = super().render(context)
        return address


class FixedStaticNode(StaticNode):
    """`{% static 'path' %}`: the path is written in the template."""

    def render(self, context: Context) -> str:
        if not context.autoescape:
            return super().render(context)
        return _static_address(storages["staticfiles"], self.path.var)


LEAVES_VARIABLES.update((FixedURLNode, FixedStaticNode))


@register.tag
def extends(parser: Parser, token: Token) -> Node:
    node = do_extends(parser, token)
    return PlacingExtendsNode(node.nodelist, node.parent_name)


@register.tag
def url(parser: Parser, token: Token) -> Node:
    node = parse_url(parser, token)
    if node.args or node.kwargs or node.asvar or not _is_fixed(node.view_name):
        return node
    return FixedURLNode(node.view_name)


@register.tag
def static(parser: Parser, token: Token) -> Node:
    node = do_static(parser, token)
    return node if node.varname or not _is_fixed(node.path) else FixedStaticNode(None, node.path)


def _is_fixed(expression: FilterExpression) -> bool:
    """Whether the template has the text itself: no variable, no filter."""
    return isinstance(expression.var, str) and not expression.filters


class _Addresses(dict[tuple[str, str], str]):
    """Addresses, by name and language."""

    def __init__(self, resolver: URLResolver) -> None:
        self.depend_on_language = _depend_on_language(resolver)


def _known_addresses(context: Context) -> _Addresses:
    """The addresses that earlier pages have looked up at the same place."""
    request: Any = getattr(context, "request", None)
    # The namespace of the page, as in Django's tag: a name may have another address there.
    namespace = getattr(getattr(request, "resolver_match", None), "namespace", None)
    return _addresses_at(get_resolver(get_urlconf()), getattr(request, "current_app", namespace), get_script_prefix())


@lru_cache(maxsize=64)
def _addresses_at(resolver: URLResolver, current_app: str | None, prefix: str) -> _Addresses:
    """`resolver` is a new object whenever ROOT_URLCONF changes."""
    return _Addresses(resolver)


def _depend_on_language(resolver: URLResolver) -> bool:
    """Whether an address is translated, or has the language in it (`i18n_patterns`)."""
    for entry in resolver.url_patterns:
        pattern = vars(entry.pattern)
        if not isinstance(pattern.get("_route", pattern.get("_regex")), str):
            return True
        if isinstance(entry, URLResolver) and _depend_on_language(entry):
            return True
    return False


@lru_cache(maxsize=512)
def _static_address(storage: Storage, path: str) -> str:
    """`storage` is a new object whenever STORAGES changes."""
    return conditional_escape(staticfiles_storage.url(path))
