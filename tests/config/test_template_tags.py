"""The tags of config/template_tags.py give what Django's own tags of the same names give."""

import re
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from django.http import HttpRequest, HttpResponse
from django.template import (
    Context,
    Engine,
    Library,
    Node,
    RequestContext,
    Template,
    TemplateDoesNotExist,
    TemplateSyntaxError,
)
from django.template.base import Parser, Token
from django.template.engine import Engine as AnyEngine
from django.template.loader_tags import BlockNode, ExtendsNode, do_block, do_extends
from django.test import override_settings
from django.test.signals import template_rendered
from django.urls import NoReverseMatch, include, path, set_script_prefix
from django.utils import translation

from config.template_inheritance import PlacingExtendsNode

_OURS = AnyEngine(builtins=["config.template_tags", "django.templatetags.i18n"])
_DJANGOS = AnyEngine(builtins=["django.templatetags.static"])


def _view(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


_inner = ([path("here/&/", _view, name="page")], "app")
urlpatterns = [
    path("", _view, name="home"),
    path("one/", include(_inner, namespace="one")),
    path("two/", include(_inner, namespace="two")),
    path("<int:number>/", _view, name="numbered"),
]


def _render(engine: Engine, text: str, *, autoescape: bool = True, namespace: str = "", **values: Any) -> str:
    context = Context(values, autoescape=autoescape)
    if namespace:
        request = HttpRequest()
        request.resolver_match = SimpleNamespace(namespace=namespace)  # type: ignore[assignment]
        context = RequestContext(request, values, autoescape=autoescape)
    return Template(text, engine=engine).render(context)


@override_settings(ROOT_URLCONF="tests.config.test_template_tags")
@pytest.mark.parametrize("autoescape", [True, False])
@pytest.mark.parametrize("namespace", ["", "one", "two"])
@pytest.mark.parametrize(
    "text",
    [
        "{% url 'home' %}",
        "{% url 'app:page' %}",
        "{% url 'two:page' %}",
        "{% url name %}",
        "{% url 'numbered' 7 %}",
        "{% url 'numbered' number=number %}",
        "{% url 'app:page' as address %}({{ address }})",
        "{% url 'missing' as address %}({{ address }})",
        "{% static 'accounts/site.css' %}",
        "{% static file %}",
        "{% static 'a&b.css' as address %}({{ address }})",
        "{% static 'a&b.css' %}",
    ],
)
def test_they_give_what_djangos_tags_give(text: str, namespace: str, autoescape: bool) -> None:
    values = {"name": "two:page", "number": 8, "file": "a.css"}
    for _ in range(2):
        ours, djangos = (
            _render(engine, text, autoescape=autoescape, namespace=namespace, **values) for engine in (_OURS, _DJANGOS)
        )
        assert ours == djangos


def test_an_address_follows_the_prefix_of_the_script_and_the_urlconf() -> None:
    assert _render(_OURS, "{% url 'accounts:login' %}") == "/accounts/login/"
    set_script_prefix("/below/")
    try:
        assert _render(_OURS, "{% url 'accounts:login' %}") == "/below/accounts/login/"
    finally:
        set_script_prefix("/")
    assert _render(_OURS, "{% url 'accounts:login' %}") == "/accounts/login/"
    with override_settings(ROOT_URLCONF="tests.config.test_template_tags"), pytest.raises(NoReverseMatch):
        _render(_OURS, "{% url 'accounts:login' %}")


def test_an_address_follows_the_language_within_a_template() -> None:
    with override_settings(ROOT_URLCONF="tests.config.urls_by_language"), translation.override("fr"):
        text = "{% url 'page' %} {% language 'de' %}{% url 'page' %}{% endlanguage %} {% url 'page' %}"
        for _ in range(2):
            assert _render(_OURS, text) == "/fr/page/ /de/page/ /fr/page/"
    with override_settings(ROOT_URLCONF="tests.config.urls_translated"), translation.override("fr"):
        for _ in range(2):
            assert _render(_OURS, text) == "/below/Accueil/ /below/Start/ /below/Accueil/"


def test_a_static_address_follows_the_settings() -> None:
    text = "{% static 'accounts/site.css' %}"
    assert _render(_OURS, text) == _render(_DJANGOS, text)
    storage = {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"base_url": "https://static.example/", "location": "."},
    }
    with override_settings(STORAGES={"staticfiles": storage}):
        assert _render(_OURS, text) == "https://static.example/accounts/site.css"
    assert _render(_OURS, text) == _render(_DJANGOS, text)


def test_an_unknown_name_raises_each_time() -> None:
    for _ in range(2):
        with pytest.raises(NoReverseMatch):
            _render(_OURS, "{% url 'missing' %}")


_TEMPLATES = {
    "base": "{% block head %}{% endblock %}<{% block title %}Base{% endblock %}>"
    "{% if yes %}{% block main %}[{% block inner %}inner{% endblock %}]{% endblock %}{% endif %}"
    "{% block last %}{{ block.name }}{% now 'Y' as year %}{% endblock %}{{ year }}{{ block }}",
    "empty": "{% extends 'base' %}",
    "text": "{% extends 'base' %}{% block title %}Text & more{% endblock %}{% block head %}head{% endblock %}",
    "super": "{% extends 'text' %}{% block title %}{{ block.super }}, too{% endblock %}"
    "{% block main %}{{ block.super }}{{ block.super }}{% endblock %}",
    "inner": "{% extends 'super' %}{% block inner %}{{ missing }}{{ block.super }}!{% endblock %}"
    "{% block last %}{% endblock %}",
    "by a variable": "{% extends parent %}{% block title %}Variable{% endblock %}",
    "no parent": "{% block title %}{% endblock %}{% block main %}Text{% endblock %}{% include 'text' %}"
    "{% block last %}{{ a }}{% endblock %}",
    "variables": "{% extends 'base' %}{% block title %}{% now 'Y' as year %}{{ year }}{% endblock %}"
    "{% block last %}{{ year }}{% with a=yes %}{{ a }}{% endwith %}{{ a }}{% endblock %}",
    "between": "Text before {% extends 'text' %}{% block main %}{% block inner %}{% endblock %}between{% endblock %}",
    "three": "And before {% extends 'between' %}{% block title %}{% if yes %}{{ a }}{% endif %}{% endblock %}"
    "{% block new %}Unused{% endblock %}{% block inner %}{% for a in 'xy' %}{{ a }}{% endfor %}{% endblock %}",
    "tab": "{% extends 'base' %}{% block title %}{% if\tblock.name %}named{% endif %}{% endblock %}",
    "twice": "{% extends 'base' %}{% block main %}{% include 'super' %}{% include 'text' with yes=0 %}{% endblock %}",
}


#: No template uses the variable `block`, so their blocks are put into their places.
_PLACED = {name: re.sub("{{ block[^}]*}}", "", text) for name, text in _TEMPLATES.items()}


def _engines(templates: dict[str, str], *tags: str, **options: Any) -> tuple[AnyEngine, AnyEngine]:
    """One with our tags, and one with Django's."""
    loaders = [("django.template.loaders.cached.Loader", [("django.template.loaders.locmem.Loader", templates)])]
    ours = AnyEngine(loaders=loaders, builtins=["config.template_tags", *tags], **options)
    return ours, AnyEngine(loaders=loaders, builtins=[*tags], **options)


@pytest.mark.parametrize("templates", [_TEMPLATES, _PLACED], ids=["with the variable", "without"])
@pytest.mark.parametrize("name", _TEMPLATES)
def test_blocks_give_what_djangos_give(name: str, templates: dict[str, str]) -> None:
    engines = _engines(templates)
    for parent in ("base", "text", "base"):
        values = {"yes": 1, "a": "<&>", "parent": parent}
        found = [engine.get_template(name).render(Context(values)) for engine in engines for _ in range(2)]
        assert len(set(found)) == 1


def test_the_blocks_of_a_page_are_put_into_their_places_once() -> None:
    ours, _ = _engines(_PLACED)
    template = ours.get_template("three")
    template.render(Context())
    (tag,) = template.nodelist.get_nodes_by_type(PlacingExtendsNode)
    with patch.object(ours, "find_template", side_effect=AssertionError("it is known")):
        found = template.render(Context({"yes": 1, "a": "<&>"}))

    assert isinstance(tag, PlacingExtendsNode)
    assert tag._page is not None
    assert "head<&lt;&amp;&gt;>xybetween" in found


@pytest.mark.parametrize("templates", [_TEMPLATES, _PLACED], ids=["with the variable", "without"])
def test_tests_and_tools_hear_of_the_same_templates(templates: dict[str, str]) -> None:
    heard: list[list[str | None]] = []

    def note(template: Template, **_: Any) -> None:
        heard[-1].append(template.name)

    template_rendered.connect(note)
    try:
        for engine in _engines(templates):
            for _ in range(2):
                heard.append([])
                engine.get_template("three").render(Context({"yes": 1}))
    finally:
        template_rendered.disconnect(note)

    assert heard == [["three", "between", "text", "base"]] * 4


@pytest.mark.parametrize("templates", [_TEMPLATES, _PLACED], ids=["with the variable", "without"])
@pytest.mark.parametrize("broken", ["base", "between", "three"])
def test_an_error_page_shows_the_same_line(broken: str, templates: dict[str, str]) -> None:
    text = templates[broken].replace("{% block last %}", "\n{% block last %}").replace("before", "before\n")
    text += "{% block wrong %}\n{{ a|divisibleby:number }}{% endblock %}"
    root = templates["base"].replace("{{ year }}", "{% block wrong %}{% endblock %}") if broken != "base" else text
    shown = []
    for engine in _engines(templates | {"base": root, broken: text}, debug=True):
        engine.get_template("three").render(Context({"a": 1, "yes": 1, "number": 1}))
        for _ in range(2):
            with pytest.raises(ZeroDivisionError) as error:
                engine.get_template("three").render(Context({"a": 1, "yes": 1, "number": 0}))
            shown.append({**error.value.template_debug})  # type: ignore[attr-defined]

    assert shown[0]["name"] == broken
    assert all(one == shown[0] for one in shown)


def test_a_template_can_extend_the_one_that_it_replaces() -> None:
    folders = [{"base": "{% extends 'base' %}{% block title %}Site, {{ block.super }}{% endblock %}"}, _TEMPLATES]
    loaders = [("django.template.loaders.locmem.Loader", folder) for folder in folders]
    engine = AnyEngine(loaders=[("django.template.loaders.cached.Loader", loaders)], builtins=["config.template_tags"])
    for _ in range(2):
        assert "<Site, Base>" in engine.get_template("base").render(Context())
        assert "<Text & more>" in engine.get_template("text").render(Context())


def test_errors_in_blocks_are_djangos() -> None:
    for text in ("{% block a %}{% block a %}{% endblock %}{% endblock %}", "{% block %}", "x{{ y }}{% extends 'a' %}"):
        with pytest.raises(TemplateSyntaxError) as ours:
            Template(text, engine=_OURS)
        with pytest.raises(TemplateSyntaxError) as djangos:
            Template(text, engine=_DJANGOS)
        assert str(ours.value) == str(djangos.value)


def test_a_template_of_another_engine_can_extend_one_with_these_blocks() -> None:
    parent = Template("<{% block title %}Base{% endblock %}{% block main %}Main{% endblock %}>", engine=_OURS)
    text = "{% extends parent %}{% block title %}{{ block.super }}, too{% endblock %}"

    assert _render(_DJANGOS, text, parent=parent) == "<Base, tooMain>"


register = Library()


@register.simple_tag(takes_context=True)
def parents_block(context: Context) -> Any:
    """It looks for the variable `block` itself: the template does not name it."""
    return context["block"].super()


class LoudBlockNode(BlockNode):
    def render(self, context: Context) -> Any:
        return f"{super().render(context)}!"


@register.tag
def loud(parser: Parser, token: Token) -> Node:
    node = do_block(parser, token)
    return LoudBlockNode(node.name, node.nodelist)


class BaseExtendsNode(ExtendsNode):
    def get_parent(self, context: Context) -> Template:
        return self.find_template("base", context)


@register.tag
def extends_base(parser: Parser, token: Token) -> Node:
    node = do_extends(parser, token)
    return BaseExtendsNode(node.nodelist, node.parent_name)


def test_tags_of_other_packages_give_what_they_give_in_djangos_templates() -> None:
    templates = {
        "base": "<{% block title %}Base {{ a }}{% endblock %}{% loud end %}end{% endblock %}>",
        "child": "{% extends_base 'unknown' %}{% block title %}{% parents_block %}, child{% endblock %}",
        "grandchild": "{% extends 'child' %}{% block title %}{% parents_block %}, grandchild{% endblock %}",
        "super": "{% extends 'base' %}{% block title %}{% parents_block %}, {{ a }}{% endblock %}",
        "superchild": "{% extends 'super' %}{% block title %}{% parents_block %}!{% endblock %}",
        "loud": "{% extends 'base' %}{% block end %}{{ a }}{% endblock %}",
    }
    engines = _engines(templates, __name__)
    for name in templates:
        found = [engine.get_template(name).render(Context({"a": a})) for engine in engines for a in "xxy"]
        assert found[:3] == found[3:]


@pytest.mark.parametrize("parent", ["'missing'", "'wrong'", "''", "'child'"])
def test_a_parent_that_is_missing_gives_djangos_error(parent: str) -> None:
    templates = {
        "child": f"{{% extends {parent} %}}",
        "grandchild": "Text{% extends 'child' %}",
        "wrong": "{% if %}",
    }
    shown = []
    for engine in _engines(templates, debug=True):
        for _ in range(2):
            with pytest.raises((TemplateDoesNotExist, TemplateSyntaxError)) as error:
                engine.get_template("grandchild").render(Context())
            shown.append((str(error.value), {**error.value.template_debug}))  # type: ignore[attr-defined]

    assert all(one == shown[0] for one in shown)
    assert shown[0][1]["name"] in ("child", "wrong")


@pytest.mark.parametrize("is_cached", [True, False])
def test_a_template_that_is_kept_elsewhere_has_the_parent_of_today(is_cached: bool) -> None:
    """As in `runserver`, which empties the cache when a file changes."""
    templates = {"base": "Old {% block title %}{% endblock %}", "child": "{% extends 'base' %}"}
    loader: Any = "django.template.loaders.locmem.Loader", templates
    loader = ("django.template.loaders.cached.Loader", [loader]) if is_cached else loader
    engine = AnyEngine(loaders=[loader], builtins=["config.template_tags"])
    kept = [engine.get_template("child"), engine.from_string(templates["child"])]
    for _ in range(2):
        assert [template.render(Context()) for template in kept] == ["Old ", "Old "]
    templates["base"] = "New"
    for one in engine.template_loaders:
        one.reset()
    for _ in range(2):
        assert [template.render(Context()) for template in kept] == ["New", "New"]


def test_an_included_template_of_another_engine_has_the_parent_that_django_finds() -> None:
    included = {"base": "Theirs", "child": "{% extends 'base' %}{% block title %}child{% endblock %}"}
    including = {"base": "<{% block title %}{% endblock %}>", "page": "{% include child %}"}
    for engine, other in zip(_engines(including), _engines(included), strict=True):
        child = other.get_template("child")
        for _ in range(2):
            assert child.render(Context()) == "Theirs"
            assert engine.get_template("page").render(Context({"child": child})) == "<child>"
