"""Which sessions are of one user at one API, or of one session at the provider."""

import hashlib
import json

from accounts.conf import conf
from accounts.session.tokens import User

#: Longer ids are cut, so two users may have the same beginning.
_MAX_ID_LENGTH = 254


def user_key(user: User) -> str:
    """The same text for all sessions of this user at this API, and for no others.

    It is empty if it is not known who the user is: the API sent no id, or one that is too long.

    A number and the same number as text are one id: SimpleJWT 5.5 began to send its ids as text.
    """
    id_ = str(user.id)
    if not 0 < len(id_) <= _MAX_ID_LENGTH:
        return ""
    return hashlib.sha256(json.dumps([conf.base_url, conf.oauth_issuer, id_]).encode()).hexdigest()


def sid_key(sid: object) -> str | None:
    """The same text for all sessions that one session at the provider has started (`sid` of OpenID Connect).

    None without a `sid`.
    """
    if not sid or not isinstance(sid, str):
        return None
    return hashlib.sha256(json.dumps([conf.oauth_issuer, sid]).encode()).hexdigest()
