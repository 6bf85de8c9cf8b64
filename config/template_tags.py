"""Template tags that replace Django's tags of the same names, and remember what is the same for each page.

They remember the addresses of `{% url %}` and `{% static %}`, the text of a `{% block %}`, and the blocks of the
template that `{% extends %}` names. They are built-in tags (TEMPLATES in settings.py). After `{% load static %}`, a
template has Django's own `{% static %}`.
"""

from functools import cached_property, lru_cache
from typing import Any

from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.files.storage import Storage, storages
from django.template import Context, Library, Node
from django.template.base import FilterExpression, NodeList, Parser, Template, TextNode, Token
from django.template.defaulttags import URLNode
from django.template.defaulttags import url as parse_url
from django.template.loader_tags import BLOCK_CONTEXT_KEY, BlockNode, ExtendsNode, do_block, do_extends
from django.templatetags.static import StaticNode, do_static
from django.urls import URLResolver, get_resolver, get_script_prefix, get_urlconf
from django.utils.html import conditional_escape
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import get_language

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


class TextBlockNode(BlockNode):
    """`{% block %}`. If the block that counts has only text, there is nothing to render."""

    def render(self, context: Context) -> SafeString:
        blocks = context.render_context.get(BLOCK_CONTEXT_KEY)
        block = self if blocks is None else blocks.get_block(self.name) or self
        # A template of another engine has Django's blocks.
        text = block.text if isinstance(block, TextBlockNode) else None
        return super().render(context) if text is None else text

    @cached_property
    def text(self) -> SafeString | None:
        """None unless it is the same for each page."""
        texts = [node.s for node in self.nodelist if isinstance(node, TextNode)]
        return mark_safe("".join(texts)) if len(texts) == len(self.nodelist) else None  # noqa: S308  # the template's own


class KnownParentNode(ExtendsNode):
    """`{% extends %}`. Django searches the parent for blocks each time."""

    def get_parent(self, context: Context) -> Template:
        parent = super().get_parent(context)
        if not isinstance(parent.nodelist, _SearchedNodes):
            parent.nodelist = _SearchedNodes(parent.nodelist)
        return parent


class _SearchedNodes(NodeList):
    """The nodes of a template, which never change. It remembers the blocks among them."""

    def __init__(self, nodes: NodeList) -> None:
        super().__init__(nodes)
        self.contains_nontext = nodes.contains_nontext
        self._blocks = nodes.get_nodes_by_type(BlockNode)

    def get_nodes_by_type(self, nodetype: type[Node]) -> list[Node]:
        return self._blocks if nodetype is BlockNode else super().get_nodes_by_type(nodetype)


@register.tag
def block(parser: Parser, token: Token) -> Node:
    node = do_block(parser, token)
    return TextBlockNode(node.name, node.nodelist)


@register.tag
def extends(parser: Parser, token: Token) -> Node:
    node = do_extends(parser, token)
    return KnownParentNode(node.nodelist, node.parent_name)


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
