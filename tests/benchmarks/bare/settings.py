"""The site without its session layer, to be measured against: config.settings, with as little changed as that takes.

What it lacks, and nothing else: `ApiSessionMiddleware` (no sealed cookie is opened, watched or written, nothing is
refreshed, an API that fails is nobody's business) and `RequestIdMiddleware` (no id for the request, for its log lines,
for the API and for the answer). Its protected page, in `tests.benchmarks.bare.views`, renders the same template from
the same API call with a token that never changes. Server, other middleware, headers and templates are the site's own.
"""

from config.environment import env
from config.settings import *  # noqa: F403
from config.settings import MIDDLEWARE as SITE_MIDDLEWARE

_SESSION_LAYER = {"accounts.middleware.RequestIdMiddleware", "accounts.middleware.ApiSessionMiddleware"}

MIDDLEWARE = [name for name in SITE_MIDDLEWARE if name not in _SESSION_LAYER]
ROOT_URLCONF = "tests.benchmarks.bare.urls"
API_ACCESS_TOKEN = env.str("API_ACCESS_TOKEN")
