"""`{% extends 'name' %}`: the same page as with Django's tag, for less work.

Django looks for the blocks of a page's templates each time. Here they are put into their places once, when the page is
first rendered. Django's own tag still renders a page whose templates use the variable `block`, as in
`{{ block.super }}`, or name their parent by a variable.
"""

import re
from collections.abc import Iterable
from copy import copy
from typing import Any, NamedTuple

from django.template import Context, Engine, Node, NodeList, Template
from django.template.base import Lexer, TextNode, TokenType, VariableNode
from django.template.defaulttags import CsrfTokenNode, ForNode, IfNode, WithNode
from django.template.loader_tags import BLOCK_CONTEXT_KEY, BlockContext, BlockNode, ExtendsNode

#: Nodes that leave the variables around them as they are. A block of such nodes is not needed to keep variables inside.
LEAVES_VARIABLES: set[type[Node]] = {BlockNode, CsrfTokenNode, ForNode, IfNode, TextNode, VariableNode, WithNode}
_BLOCK_VARIABLE = re.compile(r"\bblock\b")
_WITH_VARIABLES = (TokenType.VAR, TokenType.BLOCK)
#: Their value is the name of a block.
_TAGS = ("block", "endblock")


class PlacedBlocks(BlockContext):
    """The block that counts for each name. All requests share it: to render a block changes nothing here."""

    def pop(self, name: str) -> BlockNode:
        block: BlockNode = self.get_block(name)
        return block

    def push(self, name: str, block: BlockNode) -> None:
        pass


class Page(NamedTuple):
    """The parent of a template, with all blocks in their places. `blocks` is for those that are still nodes."""

    parent: Template
    blocks: PlacedBlocks


class PlacingExtendsNode(ExtendsNode):
    """The tag of a template. It remembers the page; None if Django's tag has to render it."""

    _page: Page | None
    _is_known = False

    def render(self, context: Context) -> Any:
        template = context.render_context.template
        if template is None or BLOCK_CONTEXT_KEY in context.render_context:
            # Django's tag renders the page, and another template that extends this one has blocks, too.
            return super().render(context)
        if not self._is_known:
            self._page = _place_blocks(self, template)
            self._is_known = True
        if self._page is None:
            return super().render(context)
        context.render_context[BLOCK_CONTEXT_KEY] = self._page.blocks
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


def _place_blocks(tag: ExtendsNode, template: Template) -> Page | None:
    """The page of a `template`, which begins with `tag`; None if Django's tag has to render it."""
    parents = _find_parents(tag, template.engine)
    if not parents or any(map(_uses_block_variable, [template, *parents])):
        return None
    blocks = dict(tag.blocks)
    for parent in parents:
        blocks = {**_blocks_of(parent), **blocks}
    *between, last = parents
    copied = _copy(last, _place(last.nodelist, blocks))
    for parent in reversed(between):
        nodes = [PlacedExtendsNode(node, copied) if isinstance(node, ExtendsNode) else node for node in parent.nodelist]
        copied = _copy(parent, nodes)
    placed = PlacedBlocks()
    placed.add_blocks(blocks)
    return Page(copied, placed)


def _find_parents(tag: ExtendsNode | None, engine: Engine) -> list[Template]:
    """The parent, its parent, and so on; none if a name is a variable."""
    found, history = [], []
    while tag is not None:
        name: Any = tag.parent_name
        if not isinstance(name.var, str) or name.filters:
            return []
        # A template can extend the one of the same name that it replaces.
        history.append(tag.origin)
        found.append(engine.find_template(name.var, skip=history)[0])
        tag = _first_tag(found[-1])
    return found


def _first_tag(template: Template) -> ExtendsNode | None:
    """The `{% extends %}` of a template, which can only be its first tag."""
    first = next((node for node in template.nodelist if not isinstance(node, TextNode)), None)
    return first if isinstance(first, ExtendsNode) else None


def _blocks_of(template: Template) -> dict[str, BlockNode]:
    tag = _first_tag(template)
    return tag.blocks if tag else {block.name: block for block in _find_nodes(template.nodelist, BlockNode)}


def _uses_block_variable(template: Template) -> bool:
    for token in Lexer(template.source).tokenize():
        tag, _, values = token.contents.partition(" ")
        used = token.contents if token.token_type is TokenType.VAR else values
        if token.token_type in _WITH_VARIABLES and tag not in _TAGS and _BLOCK_VARIABLE.search(used):
            return True
    return False


def _place(nodes: Iterable[Node], blocks: dict[str, BlockNode]) -> list[Node]:
    """`nodes` with those of a block in the place of the block, and with neighbouring texts as one."""
    placed: list[Node] = []
    for node in nodes:
        block = blocks[node.name] if isinstance(node, BlockNode) else None
        is_needed = block is None or not all(type(inner) in LEAVES_VARIABLES for inner in _find_nodes(block.nodelist))
        for new in [node] if block is None or is_needed else _place(block.nodelist, blocks):
            if placed and isinstance(new, TextNode) and isinstance(placed[-1], TextNode):
                placed[-1] = TextNode(placed[-1].s + new.s)
            else:
                placed.append(new)
    return placed


def _find_nodes(nodes: NodeList, kind: type[Any] = Node) -> list[Any]:
    return nodes.get_nodes_by_type(kind)


def _copy(template: Template, nodes: list[Node]) -> Template:
    copied = copy(template)
    copied.nodelist = NodeList(nodes)
    return copied
