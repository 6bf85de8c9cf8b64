"""`{% url %}` and `{% static %}` give what Django's own tags give, although they look up a fixed address once."""

from types import SimpleNamespace
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.template import Context, Engine, RequestContext, Template
from django.template.engine import Engine as AnyEngine
from django.test import override_settings
from django.urls import NoReverseMatch, include, path, set_script_prefix

_OURS = AnyEngine(builtins=["config.template_tags"])
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
