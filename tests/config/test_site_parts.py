"""The parts that are for the site: a merge of a later version keeps them."""

from pathlib import Path

from django.conf import settings as django_settings
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import path

import config.urls
from tests.browsers import Browser
from tests.environment import PROJECT

BASE = """{% extends "base.html" %}
{% block site_head %}<link rel="stylesheet" href="/static/shop/shop.css">{% endblock %}
{% block example_link %}{% endblock %}
{% block navigation %}<a href="/shop/">Shop</a>{% endblock %}
{% block footer %}<footer>Our shop</footer>{% endblock %}
"""


def our_home(request: HttpRequest) -> HttpResponse:
    return HttpResponse("our home page")


urlpatterns = [path("", our_home), *config.urls.urlpatterns]


def test_a_template_of_the_site_replaces_one_of_the_project_and_extends_it(browser: Browser, tmp_path: Path) -> None:
    engine = django_settings.TEMPLATES[0]
    assert engine["DIRS"] == [PROJECT / "templates/site", PROJECT / "templates"]
    (tmp_path / "base.html").write_text(BASE)

    with override_settings(TEMPLATES=[{**engine, "DIRS": [tmp_path, PROJECT / "templates"]}]):
        page = browser.get("/accounts/login/").text

    assert page.index("accounts/site.css") < page.index("shop/shop.css") < page.index("</head>")
    assert page.index("<nav") < page.index('<a href="/shop/">Shop</a>') < page.index("</nav>")
    assert "Protected page" not in page
    assert "<h1>Sign in</h1>" in page
    assert page.count("<footer>") == page.count("<footer>Our shop</footer>") == 1


@override_settings(ROOT_URLCONF=__name__)
def test_an_address_of_the_site_replaces_one_of_the_project(browser: Browser) -> None:
    assert browser.get("/").text == "our home page"
    assert 'href="/"' in browser.get("/accounts/login/").text


def test_the_part_for_the_site_is_the_last_one_of_the_settings_and_the_first_one_of_the_addresses() -> None:
    settings, urls = ((PROJECT / "config" / name).read_text() for name in ("settings.py", "urls.py"))

    ours = settings.partition("# --- Your site -")[2]
    assert "INSTALLED_APPS +=" in ours
    assert "# ---" not in ours.replace("-" * 20, "")
    assert urls.index("# --- Your site") < urls.index("urlpatterns") < urls.index("# --- The project")
