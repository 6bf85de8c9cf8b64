"""The keys that seal sessions, and whether active sessions still need them. A key has no date, but each sealed copy in
the database begins with the id of its key."""

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db import Error as AnyDatabaseError
from django.db.models import Count, F, Min, Q
from django.db.models.functions import Substr

from accounts.conf import conf
from accounts.doctor.findings import Finding, Findings, count, ok, problem, unknown
from accounts.models import SessionRecord, SessionRecordQuerySet
from accounts.rotation.database import drop_broken_connection
from accounts.session.sealing import KEY_ID_CHARACTERS, CannotOpen, key_ids, sealing_key_id


@dataclass(slots=True)
class _Use:
    """The active sessions whose newest copy one key sealed, and when the first of these was stored."""

    sessions: int = 0
    first: datetime | None = None

    def __str__(self) -> str:
        since = f" since {self.first:%Y-%m-%d %H:%M} UTC" if self.first else ""
        return f"{count(self.sessions, 'active session')}{since}"


def examine_keys() -> Findings:
    source = "API_SESSION_KEYS" if settings.API_SESSION_KEYS else "SECRET_KEY and SECRET_KEY_FALLBACKS"
    lengths = ", ".join(str(len(key)) for key in conf.keys)
    yield ok("keys.ring", f"{count(len(conf.keys), 'key')}, from {source}. Characters: {lengths}.")
    ids = key_ids()
    try:
        uses = _uses()
        unseen = _sessions_that_may_need_an_older_key(uses.get(ids[0], _Use()).first)
    except AnyDatabaseError as error:
        drop_broken_connection()
        yield unknown("keys.use", f"The use of the keys is unknown: the database gave {type(error).__name__}.")
        return
    for number, id_ in enumerate(ids, start=1):
        yield _key(number, id_, uses.pop(id_, _Use()), unseen)
    for id_, use in uses.items():
        found = f"Key {id_} sealed {use}, but it is not configured: their users are signed out here."
        advice = "Add the key again as the last one, on all hosts. Or end these sessions in the admin."
        yield problem("keys.missing", found, advice)


def _key(number: int, id_: str, use: _Use, unseen: int) -> Finding:
    name, label = f"keys.key-{number}", f"Key {number} (id {id_})"
    if number == 1:
        return ok(name, f"{label} seals all new sessions: {use} so far.")
    if use.sessions:
        return ok(name, f"{label} is a former key. It sealed {use}.", "Keep it, and look again later.")
    if unseen:
        found = f"{label} is a former key. It sealed no stored session, but {count(unseen, 'active session')} may still"
        found += " have a cookie that it sealed: they began before the first session under key 1."
        return ok(name, found, "Keep it, and look again later.")
    advice = "Remove it from API_SESSION_KEYS on all hosts."
    if not settings.API_SESSION_KEYS:
        advice = "No session needs it in SECRET_KEY_FALLBACKS. Django itself may still need it there."
    return ok(name, f"{label} is a former key that no active session needs.", advice)


def _uses() -> dict[str, _Use]:
    """By key id, in hex; texts that no key can have sealed are under "of no known kind"."""
    beginnings = _living().exclude(sealed="").values_list(Substr("sealed", 1, KEY_ID_CHARACTERS))
    uses: dict[str, _Use] = {}
    # An id ends within a character, so several beginnings belong to one key.
    for beginning, sessions, first in beginnings.annotate(Count("pk"), Min("last_rotated_at")):
        try:
            use = uses.setdefault(sealing_key_id(beginning), _Use())
        except CannotOpen:
            use = uses.setdefault("of no known kind", _Use())
        use.sessions += sessions
        use.first = min(filter(None, (use.first, first)), default=None)
    return uses


def _sessions_that_may_need_an_older_key(first_key_seen_at: datetime | None) -> int:
    """The number of active sessions whose cookie may be sealed with an older key: they have not rotated yet, or no
    request confirmed their newest generation. A session that began under the first key has no such cookie."""
    of_unknown_key = _living().filter(Q(sealed="") | Q(confirmed__lt=F("generation")))
    if first_key_seen_at is not None:
        of_unknown_key = of_unknown_key.filter(signed_in_at__lt=first_key_seen_at)
    return of_unknown_key.count()


def _living() -> SessionRecordQuerySet:
    return SessionRecord.objects.active().order_by()
