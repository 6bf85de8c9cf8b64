"""`python -m tests.real_apis.oauth`: the provider and the API, until the end of their input (Ctrl-D)."""

import argparse
from pathlib import Path

from tests.real_apis import serving
from tests.real_apis.oauth.keys import make_signing_key

PROGRAM = "tests.real_apis.oauth"


def main() -> None:
    options = _read_options()
    serving.run(
        PROGRAM,
        options.port,
        apps=["django.contrib.sessions", "oauth2_provider"],
        preparation={"skip_consent": options.consent == "skip"},
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.common.CommonMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "DIRS": [Path(__file__).with_name("templates")],
                "APP_DIRS": True,
                "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
            }
        ],
        LOGIN_URL="/login/",
        # A browser keeps one jar for all ports of a host, and the site has cookies by Django's own names.
        SESSION_COOKIE_NAME="provider_session",
        CSRF_COOKIE_NAME="provider_csrf",
        OAUTH2_PROVIDER={
            "SCOPES": {
                "openid": "Know that it is you",
                "profile": "Know your name",
                "email": "Know your e-mail address",
                "read": "Read the tide gauges",
            },
            "ACCESS_TOKEN_EXPIRE_SECONDS": options.access_ttl,
            "REFRESH_TOKEN_EXPIRE_SECONDS": options.refresh_ttl,
            "REFRESH_TOKEN_GRACE_PERIOD_SECONDS": options.grace,
            "ROTATE_REFRESH_TOKEN": True,
            "REFRESH_TOKEN_REUSE_PROTECTION": True,
            "PKCE_REQUIRED": True,
            "OIDC_ENABLED": True,
            "OIDC_RSA_PRIVATE_KEY": make_signing_key(),
            "OIDC_RP_INITIATED_LOGOUT_ENABLED": True,
            "OIDC_RP_INITIATED_LOGOUT_ALWAYS_PROMPT": False,  # it still asks where the ID token proves nothing
            "OAUTH2_VALIDATOR_CLASS": f"{PROGRAM}.claims.Validator",
            # As the next major version has it. Storing tokens hashed is left out: then a second use within the grace
            # period, which should yield the same pair, ends in a 500.
            "COMPLIANT_BCP_RFC9700_IMPLICIT_GRANT": True,
            "COMPLIANT_BCP_RFC9700_PASSWORD_GRANT": True,
            "COMPLIANT_BCP_RFC9700_PKCE_METHOD": True,
            "COMPLIANT_BCP_RFC9700_ACCESS_TOKEN_TRANSPORT": True,
            "COMPLIANT_BCP_RFC9700_AUTHZ_RESPONSE_ISS": True,
        },
    )


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m {PROGRAM}", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (default: %(default)s)")
    parser.add_argument("--access-ttl", type=int, default=300, help="seconds (default: %(default)s)")
    parser.add_argument("--refresh-ttl", type=int, default=86400, help="seconds (default: %(default)s)")
    parser.add_argument("--grace", type=int, default=0, help="seconds in which a spent refresh token stays good")
    parser.add_argument("--consent", choices=["ask", "skip"], default="ask", help="ask the user each time, or never")
    return parser.parse_args()


if __name__ == "__main__":
    main()
