"""`{% extends 'name' %}`: the same page as with Django's tag, for less work.

Django looks for the blocks of a page's templates each time. Here they are put into their places once. Django's own
tag renders a page the first time, and always if its templates use the variable `block`, as in `{{ block.super }}`, name
a parent by a variable, or are not kept by Django's cached loader.
"""

import re
from collections.abc import Iterable
from copy import copy
from typing import Any, NamedTuple

from django.template import Context, Node, NodeList, Template
from django.template.base import Lexer, TextNode, TokenType, VariableNode
from django.template.defaulttags import CsrfTokenNode, ForNode, IfNode, WithNode
from django.template.loader_tags import BLOCK_CONTEXT_KEY, BlockContext, BlockNode, ExtendsNode
from django.template.loaders.cached import Loader as CachedLoader

#: Nodes that leave the variables around them as they are. A block of such nodes is not needed to keep variables inside.
LEAVES_VARIABLES: set[type[Node]] = {BlockNode, CsrfTokenNode, ForNode, IfNode, TextNode, VariableNode, WithNode}
_BLOCK = re.compile(r"\bblock\b")


class Page(NamedTuple):
    """The parent of a template, with the blocks in their places. Those that are still nodes look into `blocks`."""

    parent: Template
    blocks: BlockContext


class PlacingExtendsNode(ExtendsNode):
    """The tag of a template. It remembers the page once Django's tag has rendered it: then all parents can be found."""

    _page: Page | None = None
    _is_known = False

    def render(self, context: Context) -> Any:
        template = context.render_context.template
        # If there are blocks, Django's tag renders the page, and this is the parent of another template.
        if BLOCK_CONTEXT_KEY in context.render_context or not _is_cached(template, context.template):
            return super().render(context)
        if self._page is None:
            rendered = super().render(context)
            if not self._is_known:
                self._page, self._is_known = _place_blocks(template), True
            return rendered
        # Django takes blocks out while it renders them, so each rendering has its own lists.
        context.render_context[BLOCK_CONTEXT_KEY] = blocks = BlockContext()
        blocks.blocks.update({name: [*nodes] for name, nodes in self._page.blocks.blocks.items()})
        return _render_parent(self._page.parent, context)


class PlacedExtendsNode(Node):
    """The tag in a copy of a parent that extends another template. It renders the copy of that one."""

    child_nodelists = ()

    def __init__(self, tag: ExtendsNode, parent: Template) -> None:
        self.token, self.origin, self._parent = tag.token, tag.origin, parent

    def render(self, context: Context) -> Any:
        return _render_parent(self._parent, context)


def _render_parent(parent: Any, context: Context) -> Any:
    """As Django's tag does it: tests and tools listen to `_render`, and an error names the template."""
    with context.render_context.push_state(parent, isolated_context=False):
        return parent._render(context)


def _is_cached(template: Any, rendered: Any) -> bool:
    """Whether Django's cached loader keeps the template, and so its parents. When a file changes, it forgets all.

    Django looks for parents in the engine of the template that is `rendered`, which may include one of another engine.
    """
    if template is None or rendered is None:
        return False
    return all(
        type(loader) is CachedLoader and loader.get_template_cache.get(template.name) is template
        for loader in rendered.engine.template_loaders
    )


def _place_blocks(template: Any) -> Page | None:
    """The page of a template; None if Django's tag has to render it."""
    templates = _with_parents(template)
    if not templates or any(map(_uses_block_variable, templates)):
        return None
    *children, root = templates
    blocks = BlockContext()
    for child in children:
        blocks.add_blocks(_extends_tag(child).blocks)
    in_root: list[Any] = root.nodelist.get_nodes_by_type(BlockNode)
    blocks.add_blocks({block.name: block for block in in_root})
    placed = _copy(root, _place(root.nodelist, blocks))
    for parent in reversed(children[1:]):
        nodes = [PlacedExtendsNode(node, placed) if isinstance(node, ExtendsNode) else node for node in parent.nodelist]
        placed = _copy(parent, nodes)
    return Page(placed, blocks)


def _with_parents(template: Template) -> list[Template]:
    """The template, its parent, and so on; none if a parent is not just a name."""
    found, history = [template], []
    while tag := _extends_tag(found[-1]):
        name = tag.parent_name
        # The tag of another package may find its parent elsewhere.
        if type(tag) is not PlacingExtendsNode or not isinstance(name.var, str) or name.filters:
            return []
        # A template can extend the one of the same name that it replaces.
        history.append(tag.origin)
        found.append(template.engine.find_template(name.var, skip=history)[0])
    return found


def _extends_tag(template: Template) -> Any:
    """The `{% extends %}` of a template, which can only be its first tag; None if it has none."""
    first = next((node for node in template.nodelist if not isinstance(node, TextNode)), None)
    return first if isinstance(first, ExtendsNode) else None


def _uses_block_variable(template: Template) -> bool:
    """Whether a variable or a tag has the word `block`. In `{% block name %}`, it is the tag itself."""
    for token in Lexer(template.source).tokenize():
        words = token.contents.split()
        names_block = token.token_type is TokenType.BLOCK and words[:1] in (["block"], ["endblock"])
        if token.token_type in (TokenType.VAR, TokenType.BLOCK) and not names_block and _BLOCK.search(token.contents):
            return True
    return False


def _place(nodes: Iterable[Any], blocks: BlockContext) -> list[Node]:
    """`nodes` with those of a block in the place of the block, and with neighbouring texts as one."""
    placed: list[Node] = []
    for node in nodes:
        # A subclass may render more than its nodes.
        is_placed = type(node) is BlockNode and _leaves_variables(node, blocks)
        for new in _place(blocks.get_block(node.name).nodelist, blocks) if is_placed else [node]:
            if placed and isinstance(new, TextNode) and isinstance(placed[-1], TextNode):
                placed[-1] = TextNode(placed[-1].s + new.s)
            else:
                placed.append(new)
    return placed


def _leaves_variables(block: BlockNode, blocks: BlockContext) -> bool:
    """Whether all that is rendered in the place of `block` leaves the variables as they are."""
    nodes = blocks.get_block(block.name).nodelist.get_nodes_by_type(Node)
    return all(type(node) in LEAVES_VARIABLES for node in nodes) and all(
        _leaves_variables(node, blocks) for node in nodes if isinstance(node, BlockNode)
    )


def _copy(template: Template, nodes: list[Node]) -> Template:
    copied = copy(template)
    copied.nodelist = NodeList(nodes)
    return copied
