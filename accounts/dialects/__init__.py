"""The kinds of API that this site can stand in front of, and the one that API_DIALECT names."""

import functools

from django.utils.module_loading import import_string

from accounts.conf import conf
from accounts.dialects.base import Dialect

BUILT_IN = {
    "token-pair": "accounts.dialects.token_pair.TokenPairDialect",
    "simplejwt": "accounts.dialects.simplejwt.SimpleJwtDialect",
    "oauth2": "accounts.dialects.oauth2.OAuth2Dialect",
    "oauth2-password": "accounts.dialects.oauth2.OAuth2PasswordDialect",
}


def current_dialect() -> Dialect:
    """The dialect of the configured API. Raises ImportError for a dotted path that leads nowhere."""
    return _load(conf.dialect)


@functools.cache
def _load(name: str) -> Dialect:
    dialect: Dialect = import_string(BUILT_IN.get(name, name))()
    return dialect
