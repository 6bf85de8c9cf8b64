"""The documents list what the code has, and nothing else."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import get_commands
from django.urls import URLPattern, URLResolver, get_resolver
from prometheus_client import REGISTRY

import accounts.telemetry.metrics
from tests.demo_api.users import DEMO_USERS
from tests.environment import SETTINGS_VARIABLES

PROJECT = Path(__file__).resolve().parents[1]
DOCUMENTS = (
    "README.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "accounts/README.md",
    "accounts/dialects/README.md",
    "protected/README.md",
    "config/README.md",
    "tests/README.md",
)
MAX_LINES = 250
OUR_APPS = ("accounts", "protected", "config")


def read(name: str) -> str:
    return (PROJECT / name).read_text()


def section(document: str, title: str) -> str:
    """The text below a heading, up to the next heading."""
    found = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,3}} |\Z)", read(document), re.MULTILINE | re.DOTALL)
    assert found, f"{document} has no section {title!r}"
    return found[2]


def first_cells(document: str, title: str) -> set[str]:
    """The text in backticks at the start of the table rows of a section."""
    return set(re.findall(r"^\| `([^`]+)` \|", section(document, title), re.MULTILINE))


def code_blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", read(document), re.MULTILINE | re.DOTALL)


def addresses(patterns: list[URLPattern | URLResolver], prefix: str = "/") -> Iterator[str]:
    """The addresses of the site, with `<name>` for a parameter. The admin's own addresses count as one."""
    for pattern in patterns:
        address = f"{prefix}{pattern.pattern}"
        if isinstance(pattern, URLPattern):
            yield re.sub(r"<\w+:(\w+)>", r"<\1>", address)
        elif pattern.app_name == "admin":
            yield address
        else:
            yield from addresses(pattern.url_patterns, address)


def headings(markdown: str) -> set[str]:
    """The anchors that repository hosts give to headings."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", markdown, flags=re.M | re.S), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def make_targets() -> set[str]:
    return set(re.findall(r"^(\w+):.*## ", read("Makefile"), re.MULTILINE))


def our_commands() -> set[str]:
    return {name for name, app in get_commands().items() if app in OUR_APPS}


class TestReference:
    def test_config_lists_every_setting(self) -> None:
        assert first_cells("config/README.md", "Settings") == SETTINGS_VARIABLES

    def test_a_copied_example_env_changes_nothing_and_lists_every_setting(self) -> None:
        lines = read(".env.example").splitlines()
        names = re.findall(r"^#(\w+)=", read(".env.example"), re.MULTILINE)

        assert [line for line in lines if line.strip() and not line.startswith("#")] == []
        assert set(names) == first_cells("config/README.md", "Settings")

    def test_config_lists_every_address(self) -> None:
        by_middleware = re.findall(r'== "(/[\w/]+)"', read("config/health.py") + read("config/metrics.py"))

        listed = first_cells("config/README.md", "Addresses")
        assert listed == {*addresses(get_resolver().url_patterns), *by_middleware}

    def test_config_lists_every_system_check(self) -> None:
        ids = {
            found
            for app in OUR_APPS
            for path in (PROJECT / app).rglob("*.py")
            for found in re.findall(r'id="(\w+\.[EW]\d+)"', path.read_text())
        }

        assert first_cells("config/README.md", "System checks") == ids

    def test_config_lists_every_metric(self) -> None:
        assert accounts.telemetry.metrics.ROTATIONS
        ours = {metric.name for metric in REGISTRY.collect() if metric.name.startswith("api_")}

        assert first_cells("config/README.md", "Metrics") == ours

    def test_config_lists_every_alert(self) -> None:
        alerts = re.findall(r"alert: (\w+)", read("config/monitoring/alerts.yml"))

        assert first_cells("config/README.md", "Alerts") == set(alerts)

    def test_contributing_lists_every_make_target(self) -> None:
        cells = first_cells("CONTRIBUTING.md", "Commands")

        assert {cell.removeprefix("make ") for cell in cells if cell.startswith("make ")} == make_targets()

    def test_contributing_lists_every_management_command(self) -> None:
        listed = {cell.removeprefix("manage.py ") for cell in first_cells("CONTRIBUTING.md", "Commands")}

        assert our_commands() <= listed

    def test_contributing_lists_every_folder_and_dependency(self) -> None:
        folders = {
            f"{path.name}/" for path in PROJECT.iterdir() if path.is_dir() and not path.name.startswith((".", "_"))
        }
        declared = read("pyproject.toml")
        runtime = re.search(r"^dependencies = \[(.*?)^production = \[(.*?)^\]", declared, re.MULTILINE | re.DOTALL)
        assert runtime

        assert folders - {"htmlcov/", "mutants/"} == first_cells("CONTRIBUTING.md", "Folders")
        dependencies = set(re.findall(r'^    "([\w-]+)', runtime[0], re.MULTILINE))
        assert first_cells("CONTRIBUTING.md", "Dependencies") == dependencies

    def test_accounts_lists_every_file_under_its_package(self) -> None:
        tables = [
            table for table in re.split(r"\n\n", section("accounts/README.md", "Which file does what")) if "|" in table
        ]
        listed = set()
        for table in tables:
            heading, _, *rows = table.splitlines()
            package = re.findall(r"`([\w/]+/)`", heading)
            prefix = package[0] if len(package) == 1 and package[0] != "accounts/" else ""
            listed |= {prefix + name for row in rows for name in re.findall(r"`([\w/]+\.py)`", row.split("|")[1])}
        files = {
            str(path.relative_to(PROJECT / "accounts"))
            for path in (PROJECT / "accounts").rglob("*.py")
            if path.name != "__init__.py" and "migrations" not in path.parts
        }

        assert listed == files


class TestReadme:
    @pytest.mark.parametrize("name", ["README.md", "SECURITY.md"])
    def test_it_is_short(self, name: str) -> None:
        assert len(read(name).splitlines()) <= MAX_LINES

    def test_it_has_the_demo_sign_ins(self) -> None:
        table = section("README.md", "Start")

        assert all(f"`{email}` | `{password}`" in table for email, password in DEMO_USERS.items())

    def test_it_links_every_other_document(self) -> None:
        links = set(re.findall(r"\]\(([\w/.]+)\)", section("README.md", "More documents")))

        assert links >= {*DOCUMENTS} - {"README.md"}


class TestSecurity:
    @staticmethod
    def cited_tests() -> list[str]:
        """The tests that SECURITY.md and the tables of the dialects name: a file, a class or a function."""
        text = read("SECURITY.md") + read("accounts/dialects/README.md")
        return sorted(set(re.findall(r"`(test_\w+(?:\.py)?|Test\w+)`", text)))

    def test_each_cited_test_exists(self) -> None:
        sources = {path.name: path.read_text() for path in (PROJECT / "tests").rglob("test_*.py")}
        defined = {
            name
            for path in (PROJECT / "tests").rglob("test_*.py")
            for name in re.findall(r"^(?:class|(?: {4})?def) (\w+)\b", path.read_text(), re.MULTILINE)
        }

        assert len(self.cited_tests()) > 100
        assert [name for name in self.cited_tests() if name not in defined and name not in sources] == []

    def test_every_attacker_of_the_threat_model_has_a_part_that_does_not_hold(self) -> None:
        model = read("SECURITY.md").partition("## Threat model")[2].partition("## Single attacks")[0]
        attackers = model.split("\n### ")[1:]

        assert len(attackers) > 10
        assert [part.splitlines()[0] for part in attackers if "**Does not hold" not in part] == []


class TestEveryDocument:
    @pytest.mark.parametrize("name", DOCUMENTS)
    def test_links_lead_somewhere(self, name: str) -> None:
        text, folder = read(name), (PROJECT / name).parent

        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            path, _, anchor = target.partition("#")
            if re.match(r"https?:", target):
                continue
            assert not path or (folder / path).exists(), target
            assert not anchor or anchor in headings((folder / path).read_text() if path else text), target

    @pytest.mark.parametrize("name", ["README.md", "accounts/README.md"])
    def test_pictures_exist_and_have_a_description(self, name: str) -> None:
        pictures = re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", read(name))

        assert pictures
        for description, path in pictures:
            assert len(description) > 20, path
            assert ((PROJECT / name).parent / path).read_bytes().startswith(b"\x89PNG"), path

    @pytest.mark.parametrize("name", DOCUMENTS)
    def test_named_commands_exist(self, name: str) -> None:
        """`make` targets, management commands, and files that a shell block or a `code` span names."""
        code = "\n".join([*code_blocks(name, "sh"), *re.findall(r"`([^`\n]+)`", read(name))])
        managed = {*get_commands()}

        assert set(re.findall(r"^make ([a-z]+)", code, re.MULTILINE)) <= make_targets()
        assert set(re.findall(r"manage\.py ([a-z_]+)", code)) <= managed
        assert [path for path in re.findall(r"config/deployment/\S+", code) if not (PROJECT / path).exists()] == []

    @pytest.mark.parametrize("name", [*DOCUMENTS, ".env.example"])
    def test_it_is_of_this_project_and_not_of_one_machine(self, name: str) -> None:
        assert not re.findall(r"(?<![\w.])/(?:home|root|work|tmp|Users)/\S*", read(name))


def test_the_nine_steps_the_rotation_and_the_binding_are_drawn() -> None:
    titles = re.findall(r"^### (\d)\. ", read("accounts/README.md"), re.MULTILINE)
    *journey, tabs, decision, binding = code_blocks("accounts/README.md", "mermaid")

    assert [int(title) for title in titles] == [*range(1, 10)]
    assert len(journey) == len(titles)
    assert all(drawing.startswith("sequenceDiagram") for drawing in [*journey, tabs, binding])
    for step in (
        "/accounts/login/",
        "/protected/",
        "401",
        "/auth/refresh",
        "Set-Cookie",
        "/accounts/session/update/",
        "/protected/api/",
        "/accounts/logout/",
    ):
        assert step in "\n".join(journey)
    for word in ("claim", "store", "adopt", "confirm", "leeway", "reuse"):
        assert word in (tabs + decision).lower()
        assert f"**{word}**" in section("accounts/README.md", "The rotation").lower()


def test_the_changelog_has_room_for_what_comes_next() -> None:
    assert re.search(r"^## Unreleased\n\n### \w+\n\n- ", read("CHANGELOG.md"), re.MULTILINE)
