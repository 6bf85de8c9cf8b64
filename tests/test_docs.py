"""What the documents say is there, and what is there they say."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from tests.demo_api.users import DEMO_USERS

PROJECT = Path(__file__).resolve().parents[1]
DOCUMENTS = ("README.md", "CHANGELOG.md", "SECURITY.md")


def read(name: str) -> str:
    return (PROJECT / name).read_text()


README = read("README.md")


def section(title: str) -> str:
    """What stands under a heading of the README, up to the next one of its rank."""
    found = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,3}} |\Z)", README, re.MULTILINE | re.DOTALL)
    assert found, f"the README has no section {title!r}"
    return found[2]


def first_cells(title: str) -> set[str]:
    """What stands in backticks at the beginning of the rows of a section's tables."""
    return set(re.findall(r"^\| `([^`]+)` \|", section(title), re.MULTILINE))


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def addresses(patterns: list[URLPattern | URLResolver], prefix: str = "/") -> Iterator[str]:
    """The addresses of the site, with the parts that vary as Django writes them; the admin's own are one."""
    for pattern in patterns:
        address = f"{prefix}{pattern.pattern}"
        if isinstance(pattern, URLPattern):
            yield re.sub(r"<\w+:(\w+)>", r"<\1>", address)
        elif pattern.app_name == "admin":
            yield address
        else:
            yield from addresses(pattern.url_patterns, address)


def headings(markdown: str) -> set[str]:
    """The anchors that hosts give to headings."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", markdown, flags=re.M | re.S), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_readme_lists_the_settings_that_are_read_and_no_others() -> None:
    reads = re.findall(
        r"(?:env\.\w+|required_in_production|as_it_stands|number|flag)\(\s*\"(\w+)\"", read("config/settings.py")
    )

    assert first_cells("Settings") == set(reads)


def test_an_example_env_that_was_copied_and_not_edited_changes_nothing() -> None:
    lines = read(".env.example").splitlines()

    assert [line for line in lines if line.strip() and not line.startswith("#")] == []
    assert set(re.findall(r"^#(\w+)=", read(".env.example"), re.MULTILINE)) == first_cells("Settings")


def test_the_readme_lists_every_address_and_no_other() -> None:
    by_middleware = re.findall(r'== "(/[\w/]+)"', read("config/health.py") + read("config/metrics.py"))

    assert first_cells("Addresses") == {*addresses(get_resolver().url_patterns), *by_middleware}


def test_the_readme_lists_every_system_check_and_no_other() -> None:
    ids = {
        found
        for app in ("accounts", "protected")
        for path in (PROJECT / app).rglob("*.py")
        for found in re.findall(r'id="(\w+\.[EW]\d+)"', path.read_text())
    }

    assert first_cells("System checks") == ids


def test_the_readme_lists_every_make_target_and_no_other() -> None:
    targets = re.findall(r"^(\w+):.*## ", read("Makefile"), re.MULTILINE)

    assert {cell.removeprefix("make ") for cell in first_cells("Commands") if cell.startswith("make ")} == set(targets)


def test_the_readme_names_every_folder_and_dependency() -> None:
    folders = {f"{path.name}/" for path in PROJECT.iterdir() if path.is_dir() and not path.name.startswith((".", "_"))}
    declared = read("pyproject.toml")
    runtime = re.search(r"^dependencies = \[(.*?)^production = \[(.*?)^\]", declared, re.MULTILINE | re.DOTALL)
    assert runtime

    assert folders - {"htmlcov/", "mutants/"} == first_cells("Layout")
    assert first_cells("Dependencies") == set(re.findall(r'^    "([\w-]+)', runtime[0], re.MULTILINE))


def test_the_readme_has_the_demo_sign_ins() -> None:
    assert all(f"`{email}` | `{password}`" in section("Start it") for email, password in DEMO_USERS.items())


def cited_tests() -> list[str]:
    """The tests that SECURITY.md names: a file below tests/, and perhaps something in it."""
    return sorted(set(re.findall(r"`([\w/]+/test_\w+\.py(?:::\w+)?)`", read("SECURITY.md"))))


@pytest.mark.parametrize("cited", cited_tests())
def test_what_the_threat_model_says_is_shown_is_there(cited: str) -> None:
    path, _, name = cited.partition("::")
    source = (PROJECT / "tests" / path).read_text()

    assert not name or re.search(rf"^(?:class|(?: {{4}})?def) {name}\b", source, re.MULTILINE)


def test_every_part_of_the_threat_model_says_what_does_not_hold() -> None:
    model = read("SECURITY.md").partition("## Threat model")[2].partition("## Single attacks")[0]
    attackers = model.split("\n### ")[2:]

    assert len(attackers) > 10
    assert [part.splitlines()[0] for part in attackers if "**Does not hold" not in part] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name: str) -> None:
    text = read(name)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)

    for target in targets:
        path, _, anchor = target.partition("#")
        if re.match(r"https?:", target):
            continue
        assert not path or (PROJECT / path).exists(), target
        assert not anchor or anchor in headings(read(path) if path else text), target


def test_pictures_are_there_and_described() -> None:
    pictures = re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", README)

    assert pictures
    for description, path in pictures:
        assert len(description) > 20, path
        assert (PROJECT / path).read_bytes().startswith(b"\x89PNG"), path


def test_the_journey_and_the_hand_over_are_drawn() -> None:
    journey, *hand_over = code_blocks("mermaid")

    assert journey.startswith("sequenceDiagram")
    for step in (
        "/accounts/login/",
        "/protected/",
        "401",
        "/auth/refresh",
        "Set-Cookie",
        "refused",
        "/accounts/logout/",
    ):
        assert step in journey
    drawn = "\n".join(hand_over).lower()
    for word in ("claim", "store", "adopt", "confirm", "leeway", "reuse"):
        assert word in drawn
        assert f"**{word}**" in section("The hand-over").lower()


@pytest.mark.parametrize(
    "example", code_blocks("python"), ids=lambda example: example.split("\ndef ")[-1].split("(")[0]
)
def test_examples_in_python_compile_and_import_what_is_there(example: str) -> None:
    compile(example, "README.md", "exec")
    imports = re.findall(r"^(?:from|import) .+$", example, re.MULTILINE)

    exec("\n".join(imports), {})  # noqa: S102  # our own README


@pytest.mark.parametrize("name", [*DOCUMENTS, ".env.example"])
def test_documents_are_of_this_project_and_not_of_one_machine(name: str) -> None:
    assert not re.findall(r"(?<![\w.])/(?:home|root|work|tmp|Users)/\S*", read(name))


def test_the_changelog_has_room_for_what_comes_next() -> None:
    assert re.search(r"^## Unreleased\n\n### \w+\n\n- ", read("CHANGELOG.md"), re.MULTILINE)
