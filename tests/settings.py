"""The site's settings on a developer's machine, for tests. A test that needs other settings sets them itself."""

import os

from tests.environment import forget_settings

forget_settings()
os.environ["DEBUG"] = "true"
if "TEST_DATABASE_URL" in os.environ:  # SQLite without it
    os.environ["DATABASE_URL"] = os.environ["TEST_DATABASE_URL"]

from config.settings import *  # noqa: E402, F403
from config.settings import DATABASES  # noqa: E402

# Each of the following only saves time.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
WHITENOISE_AUTOREFRESH = True  # looks for a static file when it is requested, and not for all files at each start
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # A test database need not survive a power failure.
    DATABASES["default"]["OPTIONS"]["init_command"] = "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;"
