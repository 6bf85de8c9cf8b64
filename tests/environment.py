"""The environment of the tests and of the processes they start: a developer's .env and settings have no effect."""

import os
import re
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]

#: Every environment variable that the settings read.
SETTINGS_VARIABLES = frozenset(
    re.findall(
        r'(?:env\.\w+|required_in_production|as_it_stands|address|number|number_or_none|flag|link)\(\s*"(\w+)"',
        "".join((PROJECT / "config" / file).read_text() for file in ("environment.py", "settings.py")),
    )
)


def forget_settings() -> None:
    """Remove all settings from the environment of this process, and keep it and its children from reading .env."""
    for name in (*SETTINGS_VARIABLES, "PROMETHEUS_MULTIPROC_DIR"):
        os.environ.pop(name, None)
    os.environ["ENV_FILE"] = os.devnull


def clean_environment(**settings: str) -> dict[str, str]:
    """The environment for a process of the site: `settings`, and nothing that a developer has set."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "ENV_FILE": os.devnull, **settings}
