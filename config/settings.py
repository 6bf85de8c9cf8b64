"""Settings, top to bottom. What differs between deployments comes from the environment; `.env.example` lists it all.

With nothing set, `manage.py` means a developer's machine (DEBUG, a throw-away key, the demo API). A WSGI or ASGI
server, or a SECRET_KEY in the environment, means production: there nothing has a convenient default.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from config.databases import with_limits
from config.environment import address, as_it_stands, env, flag, link, listed, number, number_or_none
from config.postgresql import RESERVED_CONNECTIONS

BASE_DIR = Path(__file__).resolve().parent.parent


def required_in_production(name: str, development: str) -> str:
    """The variable `name`. Without it: `development` if DEBUG, else an ImproperlyConfigured that names the variable."""
    value = as_it_stands(name)
    if not value and not DEBUG:
        raise ImproperlyConfigured(f"Set the environment variable {name} (or DEBUG=true on a developer's machine).")
    return value or development


# --- Development or production ---------------------------------------------------------------------------------------
ON_COMMAND_LINE = Path(sys.argv[0]).name == "manage.py"
DEBUG = flag("DEBUG", default=ON_COMMAND_LINE and "SECRET_KEY" not in env)
# Only with DEBUG, and only where the package is installed.
DEBUG_TOOLBAR = DEBUG and flag("DEBUG_TOOLBAR", default=False) and find_spec("debug_toolbar") is not None
SECRET_KEY = required_in_production("SECRET_KEY", "development-only-" + "0" * 50)
SECRET_KEY_FALLBACKS = listed(as_it_stands("SECRET_KEY_FALLBACKS"))
ALLOWED_HOSTS = listed(required_in_production("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]"))
CSRF_TRUSTED_ORIGINS = listed(as_it_stands("CSRF_TRUSTED_ORIGINS"))

# --- The API behind this site ----------------------------------------------------------------------------------------
API_BASE_URL = address("API_BASE_URL", required_in_production("API_BASE_URL", "http://127.0.0.1:8001"))
API_DIALECT = env.str("API_DIALECT", default="token-pair")
API_USERNAME_FIELD = env.str("API_USERNAME_FIELD", default="")
API_USER_CLAIMS = listed(as_it_stands("API_USER_CLAIMS"))
API_CA_BUNDLE = as_it_stands("API_CA_BUNDLE")
API_CONNECT_TIMEOUT = number("API_CONNECT_TIMEOUT", 3.0)
API_READ_TIMEOUT = number("API_READ_TIMEOUT", 10.0)
API_REFRESH_AHEAD = number("API_REFRESH_AHEAD", 30.0)

# For API_DIALECT=oauth2. The endpoints come from the issuer's discovery document; what is set here replaces them.
OAUTH_ISSUER = address("OAUTH_ISSUER")
OAUTH_CLIENT_ID = as_it_stands("OAUTH_CLIENT_ID")
OAUTH_CLIENT_SECRET = as_it_stands("OAUTH_CLIENT_SECRET")
OAUTH_CLIENT_KEY = as_it_stands("OAUTH_CLIENT_KEY")
OAUTH_CLIENT_AUTH = env.str("OAUTH_CLIENT_AUTH", default="")
OAUTH_SCOPE = env.str("OAUTH_SCOPE", default="openid profile email")
OAUTH_AUTHORIZATION_PARAMETERS = env.str("OAUTH_AUTHORIZATION_PARAMETERS", default="")
OAUTH_SIGN_IN_PARAMETERS = listed(env.str("OAUTH_SIGN_IN_PARAMETERS", default="login_hint,ui_locales,prompt"))
OAUTH_PAR = env.str("OAUTH_PAR", default="auto")
OAUTH_DPOP = env.bool("OAUTH_DPOP", default=False)
OAUTH_AUTHORIZATION_ENDPOINT = address("OAUTH_AUTHORIZATION_ENDPOINT", may_have_query=True)
OAUTH_TOKEN_ENDPOINT = address("OAUTH_TOKEN_ENDPOINT", may_have_query=True)
OAUTH_REVOCATION_ENDPOINT = address("OAUTH_REVOCATION_ENDPOINT", may_have_query=True)
OAUTH_JWKS_URI = address("OAUTH_JWKS_URI", may_have_query=True)

API_PROXY_ALLOW = env.str("API_PROXY_ALLOW", default="GET /protected-route")

# Records each request for the request trace at /protected/trace/. For developers: each request costs a write.
API_TRACE = flag("API_TRACE", default=DEBUG_TOOLBAR)

# --- The sealed session in the browser's cookie ----------------------------------------------------------------------
API_SESSION_KEYS = listed(as_it_stands("API_SESSION_KEYS"))
API_SESSION_COOKIE_NAME = env.str("API_SESSION_COOKIE_NAME", default="session" if DEBUG else "__Host-session")
API_SESSION_COOKIE_SECURE = flag("API_SESSION_COOKIE_SECURE", default=not DEBUG)
API_SESSION_COOKIE_SAMESITE = env.str("API_SESSION_COOKIE_SAMESITE", default="Lax")
API_SESSION_LEEWAY = number("API_SESSION_LEEWAY", 30.0)
API_SESSION_CHECK = env.str("API_SESSION_CHECK", default="on-rotation")
API_SESSION_MAX_AGE = number_or_none("API_SESSION_MAX_AGE")
API_SESSION_IDLE_TIMEOUT = number_or_none("API_SESSION_IDLE_TIMEOUT")
API_SESSION_DEVICE_BINDING = flag("API_SESSION_DEVICE_BINDING", default=True)
API_SESSION_DEVICE_PROOF_SECONDS = number("API_SESSION_DEVICE_PROOF_SECONDS", 600.0)

# --- The sign-in form -------------------------------------------------------------------------------------------------
FORGOT_PASSWORD_URL = link("FORGOT_PASSWORD_URL")
REGISTER_URL = link("REGISTER_URL")

# --- How many sign-ins may fail --------------------------------------------------------------------------------------
SIGN_IN_LIMIT_PER_ADDRESS = env.str("SIGN_IN_LIMIT_PER_ADDRESS", default="20/10 minutes")
SIGN_IN_LIMIT_PER_USER = env.str("SIGN_IN_LIMIT_PER_USER", default="10/10 minutes")
SIGN_IN_LIMIT_PER_USER_ANYWHERE = env.str("SIGN_IN_LIMIT_PER_USER_ANYWHERE", default="50/hour")

# --- Django ----------------------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    # Before the admin: they replace some of its templates.
    "accounts",
    "protected",
    "config.apps.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "csp",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
]
MIDDLEWARE = [
    # First, so that every response and every log line has the request id.
    "accounts.middleware.RequestIdMiddleware",
    # Outside of all that can respond, so that every response has these headers.
    "config.headers.SecurityHeadersMiddleware",
    "django_permissions_policy.PermissionsPolicyMiddleware",
    "config.headers.ContentSecurityPolicyMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    # Before the checks of host and scheme: a load balancer asks by IP address and without TLS.
    "config.health.HealthMiddleware",
    "config.metrics.MetricsMiddleware",
    # Redirects to HTTPS.
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    # Outside of the middlewares that can respond by themselves, so that each response carries a rotated session.
    "accounts.middleware.ApiSessionMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "accounts.middleware.UserMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
ROOT_URLCONF = "config.urls"
SITE_NAME = as_it_stands("SITE_NAME").strip() or "API session"
LOGIN_REDIRECT_URL = as_it_stands("LOGIN_REDIRECT_URL").strip() or "protected:dashboard"
WSGI_APPLICATION = "config.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        # A template in templates/site/ replaces the one of the same name in templates/, and can extend it.
        "DIRS": [BASE_DIR / "templates/site", BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "builtins": ["config.template_tags"],
            "context_processors": [
                "config.csrf.csrf_token",
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                # After Django's: its `user` is also there on pages for which a check of the session failed.
                "accounts.context_processors.page",
            ],
        },
    }
]
# Only in a cookie. Django's default writes long messages into a session in the database.
MESSAGE_STORAGE = "config.messages.MessageStorage"

DATABASE_POOL_SIZE = number("DATABASE_POOL_SIZE", 8)
if DATABASE_POOL_SIZE <= RESERVED_CONNECTIONS:
    raise ImproperlyConfigured(
        f"DATABASE_POOL_SIZE is '{DATABASE_POOL_SIZE}'. It has to be at least {RESERVED_CONNECTIONS + 1}: "
        f"{RESERVED_CONNECTIONS} connections only store new token pairs."
    )
DATABASES = {
    "default": with_limits(
        env.db("DATABASE_URL", default=f"sqlite:///{BASE_DIR / 'db.sqlite3'}"),
        pool_size=DATABASE_POOL_SIZE - RESERVED_CONNECTIONS,
        on_command_line=ON_COMMAND_LINE,
    )
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        *("UserAttributeSimilarityValidator", "MinimumLengthValidator"),
        *("CommonPasswordValidator", "NumericPasswordValidator"),
    )
]

USE_TZ = True
FORMAT_MODULE_PATH = "config.formats"

STATIC_URL = "static/"
# Files are served from the apps' folders: a deployment needs no collectstatic step.
WHITENOISE_USE_FINDERS = True
# Scripts of other sites cannot read them.
WHITENOISE_ALLOW_ALL_ORIGINS = False

# --- Security --------------------------------------------------------------------------------------------------------
TRUSTED_PROXY_COUNT = number("TRUSTED_PROXY_COUNT", 0)
if TRUSTED_PROXY_COUNT:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_SSL_REDIRECT = flag("SECURE_SSL_REDIRECT", default=not DEBUG)
SECURE_HSTS_SECONDS = 0 if DEBUG else 365 * 24 * 3600
SECURE_HSTS_INCLUDE_SUBDOMAINS = not DEBUG
SECURE_HSTS_PRELOAD = not DEBUG
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
# No form here has a file. Django's default writes a file of any size to the disk while it looks for the CSRF token in
# the form; this handler discards what is larger than a form.
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.MemoryFileUploadHandler"]
SESSION_ENGINE = "config.sessions"
SESSION_COOKIE_SECURE = not DEBUG
CSRF_COOKIE_SECURE = not DEBUG
# Another subdomain cannot set a cookie with this prefix. Browsers accept it over HTTPS only.
CSRF_COOKIE_NAME = "__Host-csrftoken" if CSRF_COOKIE_SECURE and API_SESSION_COOKIE_SECURE else "csrftoken"
CSRF_FAILURE_VIEW = "config.home.csrf_failure"
X_FRAME_OPTIONS = "DENY"
# No inline code, nothing from other sites, and no frame may hold our pages.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "object-src": [NONE],
    }
}
# Our pages need none of these features, so injected scripts and frames get none. Remove a feature that you need.
PERMISSIONS_POLICY: dict[str, list[str]] = {
    feature: []
    for feature in (
        *("accelerometer", "camera", "display-capture", "geolocation", "gyroscope", "hid", "idle-detection"),
        *("local-fonts", "magnetometer", "microphone", "midi", "payment", "screen-wake-lock", "serial", "usb"),
        "xr-spatial-tracking",
    )
}
DEFAULT_EXCEPTION_REPORTER_FILTER = "accounts.telemetry.error_reports.SecretsFilter"

# --- Metrics ---------------------------------------------------------------------------------------------------------
METRICS_TOKEN = as_it_stands("METRICS_TOKEN")
METRICS_ALLOW = listed(as_it_stands("METRICS_ALLOW"))
if ON_COMMAND_LINE:
    # The folder is for servers. Each run of a command would leave files there that are read at every scrape.
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)

# --- OpenTelemetry ----------------------------------------------------------------------------------------------------
# Spans go to the collector at this address. OpenTelemetry itself reads its other variables from the environment.
OTEL_EXPORTER_OTLP_ENDPOINT = address("OTEL_EXPORTER_OTLP_ENDPOINT")
if flag("OTEL_SDK_DISABLED", default=False):
    OTEL_EXPORTER_OTLP_ENDPOINT = ""

# --- The debug toolbar ------------------------------------------------------------------------------------------------
if DEBUG_TOOLBAR:
    INSTALLED_APPS.append("debug_toolbar")
    # Outside of what it shows, which includes the session cookie of the response.
    place = MIDDLEWARE.index("accounts.middleware.ApiSessionMiddleware")
    MIDDLEWARE.insert(place, "debug_toolbar.middleware.DebugToolbarMiddleware")
    INTERNAL_IPS = ["127.0.0.1", "::1"]
    # Most of the toolbar's own panels show cookies, headers or SQL, and with them sealed sessions.
    DEBUG_TOOLBAR_PANELS = ["accounts.diagram.debug_panel.RequestTracePanel", "debug_toolbar.panels.timer.TimerPanel"]

# --- Logs ------------------------------------------------------------------------------------------------------------
LOG_FORMAT = env.str("LOG_FORMAT", default="line" if DEBUG else "json")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        "request_id": {"()": "config.logs.RequestIdFilter"},
        "require_debug_false": {"()": "django.utils.log.RequireDebugFalse"},
        "once_a_minute": {"()": "config.logs.OnceAMinuteFilter"},
    },
    "formatters": {
        "line": {"()": "config.logs.LineFormatter"},
        "json": {"()": "config.logs.JsonLineFormatter"},
        "runserver": {"()": "config.logs.RunserverFormatter"},
    },
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT, "filters": ["request_id"]},
        "runserver": {"class": "logging.StreamHandler", "formatter": "runserver"},
        "rarely": {
            "class": "logging.StreamHandler",
            "formatter": LOG_FORMAT,
            "filters": ["request_id", "once_a_minute"],
        },
        "mail": {"class": "django.utils.log.AdminEmailHandler", "level": "ERROR", "filters": ["require_debug_false"]},
    },
    "loggers": {
        # In place of Django's own handlers, whose lines would have queries.
        "django": {"handlers": ["mail"], "level": "INFO"},
        "django.server": {"handlers": ["runserver"], "level": "INFO", "propagate": False},
        # During an outage it logs each connection.
        "psycopg.pool": {"level": "ERROR"},
        # Without a collector, it logs each attempt to export.
        "opentelemetry": {"handlers": ["rarely"], "propagate": False},
        # Any visitor could send headers that are too long.
        "opentelemetry.trace.propagation.tracecontext": {"level": "ERROR"},
    },
    "root": {"handlers": ["console"], "level": env.str("LOG_LEVEL", default="INFO")},
}

# --- Your site -------------------------------------------------------------------------------------------------------
# Write below this line what your site adds or changes: your apps, your middleware, sources for the
# Content-Security-Policy, or any setting above. Later versions of the project change nothing here, so a merge keeps
# your lines. CONTRIBUTING.md explains how to merge.
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
INSTALLED_APPS += []
MIDDLEWARE += []
CONTENT_SECURITY_POLICY["DIRECTIVES"] |= {}
