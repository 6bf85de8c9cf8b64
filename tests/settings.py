"""The site's settings on a developer's machine, for the tests: what they need otherwise, each says itself."""

import os

os.environ.setdefault("DEBUG", "true")

from config.settings import *  # noqa: F403
