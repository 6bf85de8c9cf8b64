"""Counts of what happened lately, in the site's database: the one thing that all of its processes and hosts share.

This is what `limits` (https://limits.readthedocs.io) counts with, in place of a cache server. Nothing in a row can be
read: keys are HMACs under SECRET_KEY. Times are compared by the database's clock, as everywhere here.
"""

import time
from datetime import timedelta

from django.db import DatabaseError, connection, models, router, transaction
from django.db.models import Case, DurationField, ExpressionWrapper, F, Q, When
from django.db.models.functions import Now
from django.utils.crypto import salted_hmac
from limits.storage import Storage


class AttemptCountQuerySet(models.QuerySet["AttemptCount"]):
    """What is done with a count. A window begins with the first thing that is counted, and is not prolonged."""

    def current(self) -> "AttemptCountQuerySet":
        return self.filter(expires_at__gt=Now())

    def add(self, key: str, amount: int, *, seconds: int) -> int:
        """Count so many more, in a window of so many seconds unless one is running. Returns the count.

        The row stays locked until the end of the transaction, so no two callers get the same count.
        """
        with transaction.atomic(using=router.db_for_write(AttemptCount), savepoint=False):
            if not self._add(key, amount, seconds):
                # Somebody else may insert it at this very moment.
                empty = AttemptCount(key=key, count=0, expires_at=Now() + timedelta(seconds=seconds))
                self.bulk_create([empty], ignore_conflicts=True)
                self._add(key, amount, seconds)
            return self.values_list("count", flat=True).get(pk=key)

    def take_back(self, key: str, amount: int) -> None:
        """Count so many less, if the window is still running."""
        self.current().filter(pk=key, count__gte=amount).update(count=F("count") - amount)

    def count_of(self, key: str) -> int:
        return self.current().filter(pk=key).values_list("count", flat=True).first() or 0

    def seconds_left(self, key: str) -> float:
        """Until the window is over; 0 if none is running."""
        left = ExpressionWrapper(F("expires_at") - Now(), output_field=DurationField())
        running = self.current().filter(pk=key).annotate(left=left).values_list("left", flat=True).first()
        return running.total_seconds() if running else 0.0

    def _add(self, key: str, amount: int, seconds: int) -> int:
        over = Q(expires_at__lte=Now())
        return self.filter(pk=key).update(
            count=Case(When(over, then=amount), default=F("count") + amount),
            expires_at=Case(When(over, then=Now() + timedelta(seconds=seconds)), default=F("expires_at")),
        )


class AttemptCount(models.Model):
    """How often something has happened since its window began."""

    key = models.CharField(max_length=64, primary_key=True)
    count = models.PositiveIntegerField()
    expires_at = models.DateTimeField(db_index=True)

    objects = AttemptCountQuerySet.as_manager()

    class Meta:
        # The name in earlier releases, which may run beside this one during an update.
        db_table = "accounts_tally"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.count} until {self.expires_at}"


class TallyStorage(Storage):
    """The storage of `limits` in the database: its interface, with one addition. Raises DatabaseError."""

    STORAGE_SCHEME = None

    @property
    def base_exceptions(self) -> type[Exception]:
        return DatabaseError

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        return AttemptCount.objects.add(_unreadable(key), amount, seconds=expiry)

    def decr(self, key: str, amount: int = 1) -> None:
        """Undo an `incr`, unless its window is over."""
        AttemptCount.objects.take_back(_unreadable(key), amount)

    def get(self, key: str) -> int:
        return AttemptCount.objects.count_of(_unreadable(key))

    def get_expiry(self, key: str) -> float:
        """When the window is over, in seconds since the epoch by this host's clock."""
        return time.time() + AttemptCount.objects.seconds_left(_unreadable(key))

    def check(self) -> bool:
        return connection.is_usable()

    def reset(self) -> int:
        return AttemptCount.objects.all().delete()[0]

    def clear(self, key: str) -> None:
        AttemptCount.objects.filter(pk=_unreadable(key)).delete()


def _unreadable(key: str) -> str:
    return salted_hmac("accounts.tallies", key, algorithm="sha256").hexdigest()
