"""The fixtures of `tests/plugin.py` serve tests in every folder, also beside your own app."""

pytest_plugins = ["tests.plugin"]
