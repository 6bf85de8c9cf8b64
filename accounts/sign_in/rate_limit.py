"""Rate limits on failed sign-ins, by address and by user name, over all processes and hosts.

An attempt is counted before the API is asked, and taken back if it succeeds or cannot be decided. So wrong passwords
that are sent at once never exceed a limit. Counting afterwards would let through as many more as the site has threads.
The price: right passwords count while they are under way, and stay counted if the worker dies in the meantime.

- SIGN_IN_LIMIT_PER_ADDRESS counts all attempts from one address. It stops one password tried on many users.
- SIGN_IN_LIMIT_PER_USER counts one user name from one address. It stops many passwords tried on one user. The attacker
  locks out only his own address, and not the user elsewhere.
- SIGN_IN_LIMIT_PER_USER_ANYWHERE counts one user name from all addresses. It stops an attack from many addresses. Such
  an attacker could lock out the user, so this limit does not hold where the user has signed in before.

A limit is a fixed window. It begins with its first failure and is not prolonged by later ones, so each lock-out ends.
"""

import logging
import re
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import NamedTuple

from django.db import Error as AnyDatabaseError
from django.db import router, transaction

from accounts.browser.client_address import client_network
from accounts.conf import conf
from accounts.exceptions import CredentialsRefused, TooManyAttempts
from accounts.models.attempt_count import AttemptCount
from accounts.rotation.database import database_errors_as_unavailable, drop_broken_connection
from accounts.telemetry.metrics import count_sign_in_not_tried

logger = logging.getLogger(__name__)

#: How long the network of a successful sign-in counts as known for its user.
KNOWN_SECONDS = 90 * 24 * 3600

_DAY = 24 * 3600
_UNIT_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": _DAY, "month": 30 * _DAY, "year": 360 * _DAY}
_LIMIT = re.compile(r"\s*([0-9]+)\s*(?:/|per)\s*([0-9]+)?\s*([a-z]+)\s*", re.IGNORECASE)


class RateLimit(NamedTuple):
    """At most `amount` failures in a window of `multiples` units."""

    amount: int
    multiples: int
    unit: str

    @property
    def seconds(self) -> int:
        return self.multiples * _UNIT_SECONDS[self.unit]

    def key_for(self, *identifiers: str) -> str:
        """The key of the row that counts. Earlier releases made the same one with the library `limits`."""
        return "/".join(["LIMITER", *identifiers, str(self.amount), str(self.multiples), self.unit])


class _Counter(NamedTuple):
    key: str
    limit: RateLimit


@lru_cache
def parse_limits(text: str) -> tuple[RateLimit, ...]:
    """The limits in "20/10 minutes; 100/day"; none in an empty text. Raises ValueError."""
    return tuple(map(_parse_limit, re.split("[,;|]", text))) if text.strip() else ()


def _parse_limit(text: str) -> RateLimit:
    match = _LIMIT.fullmatch(text)
    unit = match[3].lower().removesuffix("s") if match else ""
    if not match or unit not in _UNIT_SECONDS:
        raise ValueError(f"{text.strip()!r} is not a limit such as '20/10 minutes'")
    return RateLimit(int(match[1]), int(match[2] or 1) or 1, unit)


@contextmanager
def rate_limited_attempt(
    address: str, name: str = "", *, realm: str = "api", failure: type[Exception] = CredentialsRefused
) -> Iterator[None]:
    """Wrap one attempt to sign in from `address`. An exception of type `failure` counts; every other outcome does not.

    `realm` separates users of different systems who have the same name. Raises TooManyAttempts, or ApiUnavailable if
    the database fails: an attempt that cannot be counted is not made.
    """
    network, name = client_network(address), _normalize(name)
    place = f"known/{realm}/{name}/{network}" if name and network else ""
    with database_errors_as_unavailable():
        is_known = bool(place and AttemptCount.objects.count_of(place))
        counters = _counters(realm, name, network, is_known=is_known)
        try:
            # Read first: a client that is over a limit locks no row, however often it tries.
            _check(counters, _has_room)
            with transaction.atomic(using=router.db_for_write(AttemptCount)):
                _check(counters, _count)
        except TooManyAttempts as error:
            # The name is not logged: users type passwords into that field.
            where = address or "an unknown address"
            logger.warning("sign-in from %s refused: too many failures, next attempt in %s s", where, error.retry_after)
            count_sign_in_not_tried()
            raise
    try:
        yield
    except failure:
        raise
    except BaseException:
        _take_back(counters)
        raise
    _take_back(counters, place="" if is_known else place)


def _counters(realm: str, name: str, network: str, *, is_known: bool) -> list[_Counter]:
    """Always in the same order: rows are locked one by one, and two attempts must not deadlock."""
    counted: list[tuple[str, tuple[str, ...]]] = []
    if network:
        counted.append((conf.sign_in_limit_per_address, ("address", network)))
    if name:
        counted.append((conf.sign_in_limit_per_user, ("user", realm, name, network)))
    if name and not is_known:
        counted.append((conf.sign_in_limit_per_user_anywhere, ("anywhere", realm, name)))
    return [
        _Counter(limit.key_for(*identifiers), limit) for text, identifiers in counted for limit in parse_limits(text)
    ]


def _has_room(counter: _Counter) -> bool:
    return AttemptCount.objects.count_of(counter.key) < counter.limit.amount


def _count(counter: _Counter) -> bool:
    """Count the attempt. Returns whether it is within the limit."""
    return AttemptCount.objects.add(counter.key, seconds=counter.limit.seconds) <= counter.limit.amount


def _check(counters: list[_Counter], is_within: Callable[[_Counter], bool]) -> None:
    """Raises TooManyAttempts with the longest wait of the limits that are used up."""
    used_up = [counter for counter in counters if not is_within(counter)]
    if used_up:
        raise TooManyAttempts(retry_after=max(AttemptCount.objects.seconds_left(counter.key) for counter in used_up))


def _take_back(counters: list[_Counter], *, place: str = "") -> None:
    """Uncount an attempt that did not fail, and remember `place` as known. Never raises."""
    try:
        with transaction.atomic(using=router.db_for_write(AttemptCount)):
            for counter in counters:
                AttemptCount.objects.take_back(counter.key)
            if place:
                AttemptCount.objects.add(place, seconds=KNOWN_SECONDS)
    except AnyDatabaseError as error:
        drop_broken_connection()
        logger.error("a sign-in that did not fail stays counted as a failure: %s", type(error).__name__)


def _normalize(name: str) -> str:
    """One form for all spellings that an API may treat as the same name: letters and digits, no case, no accents."""
    letters = unicodedata.normalize("NFKD", name).casefold()
    return "".join(filter(str.isalnum, letters)) or name.strip()
