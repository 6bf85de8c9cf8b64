"""config.settings, with the small page at /small/ and its template."""

from pathlib import Path

from config.settings import *  # noqa: F403
from config.settings import TEMPLATES

ROOT_URLCONF = "tests.benchmarks.peers.urls"
_OPTIONS = TEMPLATES[0] | {"DIRS": [Path(__file__).with_name("templates"), *TEMPLATES[0]["DIRS"]]}  # type: ignore[misc]
TEMPLATES = [_OPTIONS]
