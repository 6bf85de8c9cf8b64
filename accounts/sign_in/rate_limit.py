"""Rate limits on failed sign-ins, by address and by user name, over all processes and hosts.

Failures are counted, and separately the attempts that are under way. An attempt is made only if the failures and the
attempts under way are together within the limit. So wrong passwords that are sent at once never exceed a limit, and
right passwords that are sent at once leave nothing behind. A worker that dies during an attempt leaves it under way
until no other attempt has begun for a minute or so.

- SIGN_IN_LIMIT_PER_ADDRESS counts all attempts from one address. It stops one password tried on many users. An IPv6 /48
  has five times as many: one attacker can have all its addresses. All browsers with an unknown address share one limit.
  Fifty times as many authorization requests are pushed to the provider for one address (RFC 9126): each one costs a
  call to the provider, whether the sign-in succeeds or not.
- SIGN_IN_LIMIT_PER_USER counts one user name from one address. It stops many passwords tried on one user. The attacker
  locks out only his own address, and not the user elsewhere.
- SIGN_IN_LIMIT_PER_USER_ANYWHERE counts one user name from all addresses. It stops an attack from many addresses. Such
  an attacker could lock out the user, so this limit does not hold where the user has signed in before.

Names count alike if an API might take them for the same user. The places where a user has signed in belong to the exact
name: another account with a similar name makes no place known.

A limit is a fixed window. It begins with its first failure and is not prolonged by later ones, so each lock-out ends.
"""

import logging
import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import NamedTuple

from django.db import Error as AnyDatabaseError
from django.db import router, transaction

from accounts.browser.client_address import client_network
from accounts.conf import conf
from accounts.exceptions import CredentialsRefused, TooManyAtOnce, TooManyAttempts
from accounts.models.attempt_count import AttemptCount
from accounts.rotation.database import database_errors_as_unavailable, drop_broken_connection
from accounts.telemetry.metrics import count_sign_in_not_tried

logger = logging.getLogger(__name__)

#: How long the network of a user's latest successful sign-in counts as known for this user.
KNOWN_SECONDS = 90 * 24 * 3600
#: How many times the limit of one IPv6 /64 an IPv6 /48 has.
IPV6_SITE_FACTOR = 5
#: How many times the limit of one address there are for pushed authorization requests.
PUSHED_FACTOR = 50

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
    """The failures of one address or one user name, and its attempts under way."""

    identifiers: tuple[str, ...]
    limits: tuple[RateLimit, ...]

    @property
    def under_way_key(self) -> str:
        return "/".join(["under way", *self.identifiers])

    def failures(self) -> list[tuple[str, RateLimit]]:
        """The key of each limit's row."""
        return [(limit.key_for(*self.identifiers), limit) for limit in self.limits]


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
    the database fails: an attempt that cannot be counted is not made, and its failure is not told.
    """
    place = f"place/{realm}/{name}/{client_network(address)}" if name and address else ""
    with database_errors_as_unavailable():
        is_known = bool(place and AttemptCount.objects.count_of(place, seconds=KNOWN_SECONDS))
        counters = _counters(realm, _normalize(name), address, is_known=is_known)
        try:
            # Read first: a client that is over a limit locks no row, however often it tries.
            seconds = _under_way_seconds()
            under_way = AttemptCount.objects.counts_of({counter.under_way_key: seconds for counter in counters})
            _check(counters, [count + 1 for count in under_way.values()])
            with transaction.atomic(using=router.db_for_write(AttemptCount)):
                # The locks on these rows keep `_end` out until the failures are read.
                _check(counters, [_begin(counter) for counter in counters])
        except TooManyAttempts as error:
            # The name is not logged: users type passwords into that field.
            where, cause = address or "an unknown address", "failures"
            if isinstance(error, TooManyAtOnce):
                cause = "attempts under way"
            logger.warning(
                "sign-in from %s refused: too many %s, next attempt in %s s", where, cause, error.retry_after
            )
            count_sign_in_not_tried()
            raise
    try:
        yield
    except failure:
        with database_errors_as_unavailable():
            _end(counters, failed=True)
        raise
    except BaseException:
        _end_if_possible(counters)
        raise
    _end_if_possible(counters, place=place)


def limit_pushed_requests(address: str) -> None:
    """Count an authorization request that is pushed to the provider for a browser at `address`.

    Raises TooManyAttempts, or ApiUnavailable if the database fails. Then the request must not be sent.
    """
    limits = {
        limit.key_for("pushed", *counter.identifiers): limit
        for counter in _counters("", "", address, is_known=False)
        for limit in counter.limits
    }
    windows = {key: limit.seconds for key, limit in limits.items()}
    with database_errors_as_unavailable():
        counts = AttemptCount.objects.counts_of(windows)
        used_up = [key for key, limit in limits.items() if counts[key] >= limit.amount * PUSHED_FACTOR]
        if used_up:
            logger.warning("sign-in from %s refused: it began too many", address or "an unknown address")
            count_sign_in_not_tried()
            raise TooManyAttempts(retry_after=max(map(AttemptCount.objects.seconds_left, used_up)))
        for key, seconds in windows.items():
            AttemptCount.objects.add(key, seconds=seconds)


def _counters(realm: str, name: str, address: str, *, is_known: bool) -> list[_Counter]:
    """Always in the same order: rows are locked one by one, and two attempts must not deadlock.

    The address comes last: an attack on many names locks its row most often, so it must be locked for a short time.
    """
    network, site = client_network(address), client_network(address, 48)
    per_address = parse_limits(conf.sign_in_limit_per_address)
    counters = []
    if name:
        counters.append(_Counter(("user", realm, name, network), parse_limits(conf.sign_in_limit_per_user)))
    if name and not is_known:
        counters.append(_Counter(("anywhere", realm, name), parse_limits(conf.sign_in_limit_per_user_anywhere)))
    if ":" in site:
        per_site = tuple(limit._replace(amount=limit.amount * IPV6_SITE_FACTOR) for limit in per_address)
        counters.append(_Counter(("address", f"{site}-48"), per_site))
    counters.append(_Counter(("address", network or "unknown"), per_address))
    return [counter for counter in counters if counter.limits]


def _begin(counter: _Counter) -> int:
    """Count one attempt under way. Returns how many are."""
    return AttemptCount.objects.add(counter.under_way_key, seconds=_under_way_seconds(), prolong=True)


def _under_way_seconds() -> float:
    """Longer than any attempt: each call of a sign-in, and there are a few, has `attempt_seconds`."""
    return 4 * conf.attempt_seconds


def _check(counters: list[_Counter], under_way: list[int]) -> None:
    """Raises TooManyAttempts with the longest wait of the limits that are used up, or TooManyAtOnce."""
    windows = {key: limit.seconds for counter in counters for key, limit in counter.failures()}
    failures = AttemptCount.objects.counts_of(windows)
    used_up, are_too_many = [], False
    for counter, attempts in zip(counters, under_way, strict=True):
        for key, limit in counter.failures():
            if failures[key] >= limit.amount:
                used_up.append(key)
            are_too_many |= failures[key] + attempts > limit.amount
    if used_up:
        raise TooManyAttempts(retry_after=max(map(AttemptCount.objects.seconds_left, used_up)))
    if are_too_many:
        raise TooManyAtOnce


def _end(counters: list[_Counter], *, failed: bool = False, place: str = "") -> None:
    """Count an attempt as no longer under way, and as a failure if it failed. Remember `place` as known."""
    with transaction.atomic(using=router.db_for_write(AttemptCount)):
        for key, limit in (row for counter in counters if failed for row in counter.failures()):
            AttemptCount.objects.add(key, seconds=limit.seconds)
        for counter in counters:
            AttemptCount.objects.take_back(counter.under_way_key)
        if place:
            AttemptCount.objects.add(place, seconds=KNOWN_SECONDS, prolong=True)


def _end_if_possible(counters: list[_Counter], *, place: str = "") -> None:
    """The end of an attempt that did not fail. Never raises."""
    try:
        _end(counters, place=place)
    except AnyDatabaseError as error:
        drop_broken_connection()
        logger.error("a sign-in that did not fail stays counted as under way: %s", type(error).__name__)


def _normalize(name: str) -> str:
    """One form for all spellings that an API may treat as the same name: letters and digits, no case, no accents."""
    letters = unicodedata.normalize("NFKD", name).casefold()
    return "".join(filter(str.isalnum, letters)) or name.strip()
