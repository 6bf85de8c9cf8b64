"""`python -m tests.real_apis.simplejwt`: the API alone, until the end of its input (Ctrl-D)."""

import argparse
from datetime import timedelta

from tests.real_apis import serving

PROGRAM = "tests.real_apis.simplejwt"


def main() -> None:
    options = _read_options()
    apps = []
    if options.username_field == "email":
        apps.append(f"{PROGRAM}.email_users")
    if options.blacklist:
        apps.append("rest_framework_simplejwt.token_blacklist")
    serving.run(
        PROGRAM,
        options.port,
        apps=apps,
        AUTH_USER_MODEL="email_users.Customer" if options.username_field == "email" else "auth.User",
        MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
        REST_FRAMEWORK={
            "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework_simplejwt.authentication.JWTAuthentication"],
            "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
            "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        },
        SIMPLE_JWT={
            "ACCESS_TOKEN_LIFETIME": timedelta(seconds=options.access_ttl),
            "REFRESH_TOKEN_LIFETIME": timedelta(seconds=options.refresh_ttl),
            "ROTATE_REFRESH_TOKENS": options.rotation,
            "BLACKLIST_AFTER_ROTATION": options.blacklist,
            "AUTH_TOKEN_CLASSES": [f"{PROGRAM}.tokens.AccessToken"],
            "TOKEN_OBTAIN_SERIALIZER": f"{PROGRAM}.tokens.ObtainSerializer",
            "TOKEN_REFRESH_SERIALIZER": f"{PROGRAM}.tokens.RefreshSerializer",
        },
    )


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m {PROGRAM}", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (default: %(default)s)")
    parser.add_argument("--access-ttl", type=float, default=300, help="seconds (default: %(default)s)")
    parser.add_argument("--refresh-ttl", type=float, default=86400, help="seconds (default: %(default)s)")
    parser.add_argument("--username-field", choices=["username", "email"], default="username", help="USERNAME_FIELD")
    parser.add_argument("--no-rotation", dest="rotation", action="store_false", help="refresh tokens stay good")
    parser.add_argument("--no-blacklist", dest="blacklist", action="store_false", help="spent tokens stay good")
    return parser.parse_args()


if __name__ == "__main__":
    main()
