"""The Python examples of the documents run. `tests/accounts/dialects/test_own_dialect.py` runs the dialect."""

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.core.management import call_command
from django.urls import include, path
from pytest_django import Settings

import config.urls
from tests.browsers import Browser
from tests.demo_api.server import DemoApi, Fault
from tests.test_docs import DOCUMENTS, PROJECT, code_blocks, section

EXAMPLES = [(name, code) for name in DOCUMENTS for code in code_blocks(name, "python")]
#: Modules that an example creates, and that other examples import.
CREATED = ("shop_dialect",)


def example(document: str, text: str) -> dict[str, Any]:
    """The names that an example defines, after it has run."""
    [code] = [code for name, code in EXAMPLES if name == document and text in code]
    namespace: dict[str, Any] = {"__name__": "example"}
    exec(code, namespace)  # noqa: S102  # our own document
    return namespace


@pytest.fixture
def serve(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Serve the view of an example with its template, as a reader of the document would."""

    def add(address: str, view: Any, **templates: str) -> None:
        folder = tmp_path / "protected"
        folder.mkdir(exist_ok=True)
        for name, text in templates.items():
            (folder / f"{name}.html").write_text(text)
        urls = ModuleType("example_urls")
        urls.urlpatterns = [path(address.lstrip("/"), view), path("", include(config.urls))]  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "example_urls", urls)
        settings.ROOT_URLCONF = "example_urls"
        [engine] = settings.TEMPLATES
        settings.TEMPLATES = [{**engine, "DIRS": [*engine["DIRS"], tmp_path]}]

    return add


@pytest.mark.parametrize(
    ("name", "code"), EXAMPLES, ids=[f"{name}-{number}" for number, (name, _) in enumerate(EXAMPLES)]
)
def test_it_compiles_and_its_imports_exist(name: str, code: str) -> None:
    compile(code, name, "exec")
    imports = [
        line for line in re.findall(r"^(?:from|import) .+$", code, re.MULTILINE) if line.split()[1] not in CREATED
    ]

    exec("\n".join(imports), {})  # noqa: S102  # our own document


class TestTheFirstView:
    @pytest.fixture(autouse=True)
    def serve_it(self, serve: Any) -> None:
        [template] = code_blocks("README.md", "html")
        serve("/protected/readings/", example("README.md", "def readings(")["readings"], readings=template)

    def test_it_shows_the_apis_data_and_the_user(self, signed_in: Browser) -> None:
        text = signed_in.get("/protected/readings/").text

        assert "<h1>Readings</h1>" in text
        assert "ada@example.com" in text
        assert "<li>North Pier: " in text
        assert "csrfmiddlewaretoken" in text

    def test_a_wrong_form_is_shown_again(self, signed_in: Browser, api: DemoApi) -> None:
        response = signed_in.post("/protected/readings/", {"station": "North Pier", "level_m": "high"})

        assert response.status_code == 200
        assert "Enter a number." in response.text
        assert api.count("POST", "/protected-route") == 0

    def test_the_apis_reasons_go_to_the_fields(self, signed_in: Browser, api: DemoApi) -> None:
        form = {"station": "North Pier", "level_m": "99"}
        api.routes["POST", "/protected-route"] = (422, {"detail": [{"loc": ["body", "level_m"], "msg": "Too high"}]})
        refused = signed_in.post("/protected/readings/", form)
        api.routes["POST", "/protected-route"] = (503, {})
        unavailable = signed_in.post("/protected/readings/", form)

        assert refused.status_code == 200
        assert '<ul class="errorlist" id="id_level_m_error"><li>Too high</li></ul>' in refused.text
        assert "<li>North Pier: " in refused.text
        assert unavailable.status_code == 503
        assert "It is not known whether it acted on this." in unavailable.text
        assert 'value="99"' in refused.text
        assert 'value="99"' in unavailable.text

    def test_the_first_test_passes(self, signed_in: Browser, api: DemoApi) -> None:
        name = "test_a_form_is_sent_although_the_access_token_has_expired"

        example("README.md", name)[name](signed_in, api)

    def test_a_visitor_signs_in_first(self, browser: Browser) -> None:
        assert browser.get("/protected/readings/")["Location"] == "/accounts/login/?next=%2Fprotected%2Freadings%2F"


def test_the_views_as_classes_list_and_send_orders(serve: Any, signed_in: Browser, api: DemoApi) -> None:
    views = example("protected/README.md", "class NewOrder(")
    api.routes["GET", "/orders"] = [{"item": "Anchor"}]
    api.routes["POST", "/orders"] = (400, {"item": ["Sold out."]})

    serve("/protected/orders/", views["OrderList"].as_view(), order_list="{{ orders.0.item }}")
    assert signed_in.get("/protected/orders/").text == "Anchor"
    serve("/protected/orders/new/", views["NewOrder"].as_view(), new_order="{{ form }}")
    refused = signed_in.post("/protected/orders/new/", {"item": "Rope"})
    assert (refused.status_code, "Sold out." in refused.text, 'value="Rope"' in refused.text) == (200, True, True)
    api.routes["POST", "/orders"] = (503, {})
    assert signed_in.post("/protected/orders/new/", {"item": "Rope"}).status_code == 503
    api.routes["POST", "/orders"] = (201, {"id": 7})
    assert signed_in.post("/protected/orders/new/", {"item": "Rope"})["Location"] == "/protected/orders/"


def test_permissions_come_from_claims(serve: Any, browser: Browser, api: DemoApi, settings: Settings) -> None:
    views = example("protected/README.md", "def is_editor(")
    settings.API_USER_CLAIMS = ["roles"]
    for roles in (["editors"], []):
        pair = {"accessToken": "a", "refreshToken": "r", "user": {"id": 1, "name": "Ada", "roles": roles}}
        api.fail("POST", "/auth/login", Fault.answer(200, pair))
    serve("/edit/", views["edit"])
    visitor = browser.get("/edit/")
    browser.sign_in()
    editor = browser.get("/edit/")
    serve("/publish/", views["publish"])
    publisher = browser.get("/publish/")
    browser.sign_in()
    without_role = browser.get("/publish/")
    serve("/edit/", views["edit"])

    assert visitor["Location"] == "/accounts/login/?next=/edit/"
    assert (editor.text, publisher.text) == ("Ada edits", "Ada publishes")
    assert without_role.status_code == 403
    assert browser.get("/edit/")["Location"] == "/accounts/login/?switch=1&next=%2Fedit%2F"


def test_the_async_view_shows_two_responses(serve: Any, signed_in: Browser, api: DemoApi) -> None:
    template = "{{ user }} {{ orders.0.item }} {{ readings.0.station }}"
    serve("/protected/overview/", example("protected/README.md", "def overview(")["overview"], overview=template)
    api.routes["GET", "/orders"] = [{"item": "Anchor"}]
    api.expire_access_tokens()

    assert signed_in.get("/protected/overview/").text == "ada@example.com Anchor North Pier"
    assert api.count("POST", "/auth/refresh") == 1


def test_the_streamed_example_arrives_whole(serve: Any, signed_in: Browser, api: DemoApi) -> None:
    row = "<li>{{ row.station }}{% load session_update %}{% session_update %}</li>"
    serve("/protected/report/", example("protected/README.md", "def report(")["report"], report_row=row)
    api.expire_access_tokens()

    text = signed_in.get("/protected/report/").getvalue().decode()

    assert text.endswith("</ul>")
    assert text.count("<li>North Pier") == 10
    assert text.count("<session-update ") == 1


def test_the_page_of_the_vite_front_end_loads_its_script(serve: Any, signed_in: Browser) -> None:
    [template] = [html for html in code_blocks("protected/README.md", "html") if "frontend/main.js" in html]
    serve("/protected/app/", example("protected/README.md", "def app(")["app"], app=template)
    response = signed_in.get("/protected/app/")

    assert '<script type="module" src="/static/frontend/main.js"></script>' in response.text
    assert "csrftoken" in signed_in.take()


def test_the_test_of_a_view_passes(signed_in: Browser, api: DemoApi) -> None:
    name = "test_the_session_ends_when_the_api_refuses_the_refresh_token"

    example("protected/README.md", name)[name](signed_in, api)


def test_the_test_of_a_permission_passes(serve: Any, browser: Browser, api: DemoApi, settings: Settings) -> None:
    serve("/protected/edit/", example("protected/README.md", "def is_editor(")["edit"])
    test = example("protected/README.md", "def test_an_editor_may_edit(")["test_an_editor_may_edit"]
    test(browser, api, settings)


def test_their_types_are_right(tmp_path: Path) -> None:
    for number, (_, code) in enumerate(EXAMPLES):
        name = "shop_dialect" if "class ShopDialect(" in code else f"example_{number}"
        (tmp_path / f"{name}.py").write_text(code)

    command = [sys.executable, "-m", "mypy", *(str(file) for file in tmp_path.glob("*.py"))]
    run = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)

    assert run.returncode == 0, run.stdout + run.stderr


def test_the_linter_accepts_a_new_app(tmp_path: Path) -> None:
    """`startapp`, and then the commands of step 4 of "Your site and later versions"."""
    app = tmp_path / "shop"
    app.mkdir()
    call_command("startapp", "shop", str(app))
    (app / "tests.py").unlink()
    (app / "views.py").unlink()
    step = section("CONTRIBUTING.md", "Your site and later versions")
    fixes = re.findall(r"`\.venv/bin/(ruff [^`]+) shop`", step)
    commands = [*fixes, "ruff check", "ruff format --check"]

    for command in commands:
        name, *arguments = command.split()
        config = ["--config", str(PROJECT / "pyproject.toml"), "--no-cache"]
        line = [str(Path(sys.executable).with_name(name)), *arguments, *config, str(app)]
        run = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout + run.stderr

    assert len(fixes) == 2


def test_the_linter_lets_a_test_beside_an_app_assert() -> None:
    ruff = str(Path(sys.executable).with_name("ruff"))
    for name in ("shop/tests/test_orders.py", "shop/test_orders.py"):
        command = [ruff, "check", "--stdin-filename", name, "-"]
        subprocess.run(command, input=b"assert True\n", cwd=PROJECT, check=True)


class TestAnApiOfYourOwn:
    @pytest.mark.parametrize(
        "name",
        [
            "test_the_page_lists_the_orders",
            "test_an_order_is_sent",
            "test_the_page_says_that_the_api_is_unavailable",
        ],
    )
    def test_the_tests_of_the_view_pass(self, serve: Any, signed_in: Browser, api: DemoApi, name: str) -> None:
        view = example("protected/README.md", "def orders(")["orders"]
        serve("/protected/orders/", view, orders="{% for order in orders %}{{ order.item }}{% endfor %}")

        example("protected/README.md", name)[name](signed_in, api)

    def test_a_test_beside_an_app_has_the_fixtures(self, tmp_path: Path) -> None:
        for name in ("accounts", "config", "conftest.py", "protected", "pyproject.toml", "templates", "tests"):
            (tmp_path / name).symlink_to(PROJECT / name)
        (tmp_path / "shop").mkdir()
        (tmp_path / "shop/test_orders.py").write_text(
            "def test_orders(signed_in, api):\n"
            "    api.routes['GET', '/protected-route'] = [{'item': 'Anchor'}]\n"
            "    assert 'Anchor' in signed_in.open_page().text\n"
        )

        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "shop"]
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

        assert "1 passed" in run.stdout, run.stdout + run.stderr
