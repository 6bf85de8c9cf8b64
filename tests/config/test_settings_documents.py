"""`.env.example` and config/README.md name every setting with its default."""

import re
from pathlib import Path

import pytest

from tests.config.processes import PRODUCTION, READ_BY_SETTINGS, ROOT, copy_site, settings_of


def document(name: str) -> str:
    path = ROOT / name
    assert path.exists(), f"{name} is missing"
    return path.read_text()


def spelled(value: object) -> str:
    """A default as documents write it: true, 30, Lax."""
    if value is None:
        return ""
    if isinstance(value, list):
        return ",".join(value)
    if isinstance(value, float):
        return f"{value:g}"
    return str(value).lower() if isinstance(value, bool) else str(value)


@pytest.fixture
def defaults(tmp_path: Path) -> dict[str, str]:
    """What each variable stands for in production where it is not set. Empty: there is nothing to write."""
    values = settings_of(copy_site(tmp_path), **PRODUCTION)
    values |= {"DATABASE_URL": "sqlite:///", "LOG_LEVEL": values["LOGGING"]["root"]["level"]}
    return {name: "" if name in PRODUCTION else spelled(values.get(name, "")) for name in READ_BY_SETTINGS}


class TestDocuments:
    def test_the_settings_read_what_this_test_believes_they_read(self) -> None:
        assert {*PRODUCTION, "DEBUG", "DATABASE_URL", "API_SESSION_KEYS", "TRUSTED_PROXY_COUNT"} <= {*READ_BY_SETTINGS}

    def test_env_example_has_every_variable_with_its_default(self, defaults: dict[str, str]) -> None:
        text, problems = document(".env.example"), []
        for name, default in defaults.items():
            lines = re.findall(rf"^#?\s*{name}=(.*)$", text, re.MULTILINE)
            values = [re.split(r"\s+#", line)[0].strip().strip("\"'") for line in lines]
            if not lines:
                problems.append(f"there is no line {name}=...")
            elif not any(is_default(value, default) for value in values):
                problems.append(f"{name} is {' or '.join(values)!r}; config/settings.py makes it {default!r}")

        assert not problems, ".env.example: " + "; ".join(problems)

    def test_config_readme_has_every_variable_with_its_default(self, defaults: dict[str, str]) -> None:
        rows, problems = table_rows(document("config/README.md")), []
        for name, default in defaults.items():
            cells = [row[1] for row in rows if len(row) > 1 and f"`{name}`" in row[0]]
            if not cells:
                problems.append(f"no row of a table begins with `{name}`")
            elif not any(mentions(cell, default) for cell in cells):
                problems.append(f"{name} is {' or '.join(cells)!r}; config/settings.py makes it {default!r}")

        assert not problems, "config/README.md: " + "; ".join(problems)


def table_rows(markdown: str) -> list[list[str]]:
    lines = (line.strip() for line in markdown.splitlines())
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]


def is_default(value: str, default: str) -> bool:
    """Where there is no default, or it is derived from others, any example will do."""
    if default in ("", "sqlite:///"):
        return value.startswith(default)
    return value == default or (as_number(value) is not None and as_number(value) == as_number(default))


def mentions(cell: str, default: str) -> bool:
    words = re.split(r"[\s`,;()]+", cell)
    return default in ("", "sqlite:///") or f"`{default}`" in cell or any(is_default(word, default) for word in words)


def as_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
