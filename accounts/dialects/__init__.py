"""Dialects: one class for each kind of API that the site can use. It builds the calls and reads the responses.

`base` has the classes to subclass, `testing` the tests for a dialect of your own. API_DIALECT names the one in use.
"""

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
    """The dialect that API_DIALECT names. Raises ImportError for a dotted path that does not exist."""
    return _load(conf.dialect)


@functools.cache
def _load(name: str) -> Dialect:
    dialect: Dialect = import_string(BUILT_IN.get(name, name))()
    return dialect
