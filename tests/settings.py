"""The site's settings on a developer's machine, for the tests: what they need otherwise, each says itself."""

import os
import tempfile

os.environ.setdefault("DEBUG", "true")

from config.settings import *  # noqa: F403

if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":  # noqa: F405
    # A file, not memory: threads and processes share it under the same locks as in production.
    DATABASES["default"]["TEST"] = {"NAME": f"{tempfile.gettempdir()}/accounts-tests-{os.getpid()}.sqlite3"}  # noqa: F405
