"""How often a sign-in may fail, by address and by user name, over all processes and hosts.

An attempt is counted before anybody is asked, and given back when it was right or could not be judged. So of however
many that are sent at once, no more wrong ones get through than a limit says; counting afterwards would let in as many
more as the site has threads. The price: right ones count too while they are under way, and a worker that dies then
leaves its attempt counted.

What is counted together:

- all from one address (SIGN_IN_LIMIT_PER_ADDRESS): one password tried on many users;
- one user name from one address (SIGN_IN_LIMIT_PER_USER): many passwords tried on one user. Who does that has locked
  himself out, and not the user, who is somewhere else;
- one user name from everywhere (SIGN_IN_LIMIT_PER_USER_ANYWHERE): the same, from many addresses. Whoever has those
  could lock the user out with it, so it does not hold where that user has signed in before.

A limit is a window that begins with its first failure and is not prolonged by later ones, so nobody is out for ever.
"""

import logging
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from django.db import Error as AnyDatabaseError
from django.db import router, transaction
from limits import RateLimitItem
from limits.strategies import FixedWindowRateLimiter

from accounts.browser.client_address import client_network
from accounts.conf import conf
from accounts.exceptions import CredentialsRefused, TooManyAttempts
from accounts.models.attempt_count import AttemptCount, TallyStorage
from accounts.rotation.database import database_errors_as_unavailable, drop_broken_connection
from accounts.telemetry.metrics import count_sign_in_not_tried

logger = logging.getLogger(__name__)

#: How long the place of a successful sign-in is remembered.
KNOWN_SECONDS = 90 * 24 * 3600

_storage = TallyStorage()
_limiter = FixedWindowRateLimiter(_storage)


class Limit(NamedTuple):
    """A limit, and whose it is."""

    item: RateLimitItem
    identifiers: tuple[str, ...]


@contextmanager
def rate_limited_attempt(
    address: str, name: str = "", *, realm: str = "api", failure: type[Exception] = CredentialsRefused
) -> Iterator[None]:
    """Around one attempt to sign in from `address`: a `failure` counts, and whatever else comes of it does not.

    `realm` tells apart users who are not the same in spite of their names. Raises TooManyAttempts, or ApiUnavailable
    where the counts cannot be reached: without them nobody is asked.
    """
    network, name = client_network(address), _plain(name)
    place = f"known/{realm}/{name}/{network}" if name and network else ""
    with database_errors_as_unavailable():
        is_known = bool(place and _storage.get(place))
        limits = _limits(realm, name, network, is_known=is_known)
        try:
            # First by reading alone: whoever is over a limit keeps no row locked, however often he comes back.
            _refuse_used_up(limits, _limiter.test)
            with transaction.atomic(using=router.db_for_write(AttemptCount)):
                _refuse_used_up(limits, _limiter.hit)
        except TooManyAttempts as error:
            # Without the name: people type passwords there.
            where = address or "an unknown address"
            logger.warning("a sign-in from %s was not tried: for %s s no more may fail", where, error.retry_after)
            count_sign_in_not_tried()
            raise
    try:
        yield
    except failure:
        raise
    except BaseException:
        _give_back(limits)
        raise
    _give_back(limits, place="" if is_known else place)


def _limits(realm: str, name: str, network: str, *, is_known: bool) -> list[Limit]:
    """Always in the same order: rows are locked one by one, and two attempts must not wait for each other."""
    limits = []
    if network:
        limits += [Limit(item, ("address", network)) for item in conf.sign_in_limit_per_address]
    if name:
        limits += [Limit(item, ("user", realm, name, network)) for item in conf.sign_in_limit_per_user]
    if name and not is_known:
        limits += [Limit(item, ("anywhere", realm, name)) for item in conf.sign_in_limit_per_user_anywhere]
    return limits


def _refuse_used_up(limits: list[Limit], is_left: Callable[..., bool]) -> None:
    """Raises TooManyAttempts where one of them has nothing left."""
    used_up = [limit for limit in limits if not is_left(limit.item, *limit.identifiers)]
    if used_up:
        over_at = max(_limiter.get_window_stats(limit.item, *limit.identifiers).reset_time for limit in used_up)
        raise TooManyAttempts(retry_after=over_at - time.time())


def _give_back(limits: list[Limit], *, place: str = "") -> None:
    """The attempt was no failure: forget it, and remember the place of a success. Never raises."""
    try:
        with transaction.atomic(using=router.db_for_write(AttemptCount)):
            for limit in limits:
                _storage.decr(limit.item.key_for(*limit.identifiers))
            if place:
                _storage.incr(place, KNOWN_SECONDS)
    except AnyDatabaseError as error:
        drop_broken_connection()
        logger.error("a sign-in that did not fail stays counted as one that did: %s", type(error).__name__)


def _plain(name: str) -> str:
    """Spellings that an API may take for one name, as one: its letters and digits, without case and accents."""
    letters = unicodedata.normalize("NFKD", name).casefold()
    return "".join(filter(str.isalnum, letters)) or name.strip()
