"""How often something happened lately, counted in the database, which all processes and hosts of the site share.

No row can be read: keys are HMACs under SECRET_KEY. Times are compared by the database's clock, as everywhere here.
"""

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any

from django.db import IntegrityError, models, router, transaction
from django.db.models import Case, DurationField, ExpressionWrapper, F, Q, When
from django.db.models.functions import Now
from django.utils.crypto import salted_hmac

from accounts.models.built_statement import BuiltStatement

_LEFT = ExpressionWrapper(F("expires_at") - Now(), output_field=DurationField())
_ROUNDING_SECONDS = 1.0
#: The row to change, and its new values.
_Change = tuple["AttemptCountQuerySet", dict[str, Any]]


class AttemptCountQuerySet(models.QuerySet["AttemptCount"]):
    """Counts in windows. A window begins with the first event. Only `prolong` makes a later event move its end.

    A window that ends later than `seconds` from now began before the database's clock was set back. It is over.

    Methods take the readable key and hash it. They raise DatabaseError.
    """

    def current(self) -> "AttemptCountQuerySet":
        # A replica that lags behind does not know the latest attempts.
        return self.using(router.db_for_write(self.model)).filter(expires_at__gt=Now())

    def add(self, key: str, *, seconds: float, prolong: bool = False) -> int:
        """Count one event, in a new window of `seconds` unless one is running. Returns the count.

        With `prolong`, the window ends `seconds` from now. The row stays locked until the end of the transaction, so no
        two callers get the same count.
        """
        key = _hash(key)
        database = router.db_for_write(self.model)
        with transaction.atomic(using=database, savepoint=False):
            if not self._add(key, seconds, prolong):
                # Another process may insert the row at the same time.
                empty = AttemptCount(key=key, count=0, expires_at=Now() + timedelta(seconds=seconds))
                self.bulk_create([empty], ignore_conflicts=True)
                self._add(key, seconds, prolong)
            return self.using(database).values_list("count", flat=True).get(pk=key)

    def take_back(self, key: str) -> None:
        """Uncount one event, if its window is still running."""
        _TAKE_BACK.run(self.model.objects.all(), router.db_for_write(self.model), key=_hash(key))

    def count_of(self, key: str, *, seconds: float) -> int:
        return self.counts_of({key: seconds})[key]

    def counts_of(self, windows: Mapping[str, float]) -> dict[str, int]:
        """The counts of the keys in `windows`, in one query. The values are the seconds of each window."""
        hashes = {_hash(key): key for key in windows}
        rows = self.current().filter(pk__in=hashes).annotate(left=_LEFT).values_list("pk", "count", "left")
        counts = dict.fromkeys(windows, 0)
        for hashed_key, count, left in rows:
            key = hashes[hashed_key]
            if left.total_seconds() <= windows[key] + _ROUNDING_SECONDS:
                counts[key] = count
        return counts

    def seconds_left(self, key: str) -> float:
        """Seconds until the window ends; 0 if no window is running."""
        running = self.current().filter(pk=_hash(key)).annotate(left=_LEFT).values_list("left", flat=True).first()
        return running.total_seconds() if running else 0.0

    def claim(self, key: str, *, seconds: float) -> bool:
        """Count 1 for `seconds`, unless a window is running. Returns whether it did: only one caller gets True."""
        key, ends_at = _hash(key), Now() + timedelta(seconds=seconds)
        is_over = _is_over(timedelta(seconds=seconds + _ROUNDING_SECONDS))
        if self.filter(is_over, pk=key).update(count=1, expires_at=ends_at):
            return True
        try:
            with transaction.atomic(using=router.db_for_write(AttemptCount)):
                self.create(key=key, count=1, expires_at=ends_at)
        except IntegrityError:
            return False
        return True

    def replace(self, key: str, count: int) -> None:
        """Set the count of a running window. 0 ends the window."""
        if count:
            self.current().filter(pk=_hash(key)).update(count=count)
        else:
            self.filter(pk=_hash(key)).delete()

    def _add(self, hashed_key: str, seconds: float, prolong: bool) -> bool:
        return (_ADD_AND_PROLONG if prolong else _ADD).run(
            self.model.objects.all(),
            router.db_for_write(self.model),
            key=hashed_key,
            duration=timedelta(seconds=seconds),
            longest=timedelta(seconds=seconds + _ROUNDING_SECONDS),
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


def _is_over(longest: Any) -> Q:
    """Whether the window has ended, or ends later than the `longest` would."""
    return Q(expires_at__lte=Now()) | Q(expires_at__gt=Now() + longest)


def _add(rows: AttemptCountQuerySet, *, key: Any, duration: Any, longest: Any, prolong: bool = False) -> _Change:
    is_over, new_end = _is_over(longest), Now() + duration
    return rows.filter(pk=key), {
        "count": Case(When(is_over, then=1), default=F("count") + 1),
        "expires_at": new_end if prolong else Case(When(is_over, then=new_end), default=F("expires_at")),
    }


def _take_back(rows: AttemptCountQuerySet, *, key: Any) -> _Change:
    return rows.filter(pk=key, count__gte=1, expires_at__gt=Now()), {"count": F("count") - 1}


_ADD_VALUES: dict[str, Any] = {"key": models.CharField(), "duration": DurationField(), "longest": DurationField()}
_ADD = BuiltStatement(_add, **_ADD_VALUES)
_ADD_AND_PROLONG = BuiltStatement(partial(_add, prolong=True), **_ADD_VALUES)
_TAKE_BACK = BuiltStatement(_take_back, key=models.CharField())


def _hash(key: str) -> str:
    return salted_hmac("accounts.tallies", key, algorithm="sha256").hexdigest()
