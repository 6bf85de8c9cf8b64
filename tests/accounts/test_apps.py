"""The app starts in projects that differ from this one."""

import subprocess
import sys

from tests.browsers import PATIENCE_SECONDS
from tests.environment import clean_environment
from tests.load.site import KEY, PROJECT

WITHOUT_ADMIN = """
import config.settings as site
from django.conf import settings
apps = [app for app in site.INSTALLED_APPS if "admin" not in app.lower()]
settings.configure(**{name: value for name, value in vars(site).items() if name.isupper()} | {"INSTALLED_APPS": apps})
import django
django.setup()
"""


def test_it_starts_without_djangos_admin() -> None:
    started = subprocess.run(
        [sys.executable, "-c", WITHOUT_ADMIN],
        cwd=PROJECT,
        env=clean_environment(DEBUG="true", SECRET_KEY=KEY),
        timeout=PATIENCE_SECONDS,
        capture_output=True,
        text=True,
    )

    assert started.returncode == 0, started.stderr
