"""The keys that seal sessions. They carry no date: how long one has been at work, and whether it still is, shows in the
records, as each sealed copy begins with the id of its key."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db import Error as AnyDatabaseError
from django.db.models import Count, F, Max, Min, Q
from django.db.models.functions import Now, Substr

from accounts.conf import conf
from accounts.doctor.findings import Finding, Findings, count, ok, problem, problem_in_production, unknown, warning
from accounts.models import SessionRecord, SessionRecordQuerySet
from accounts.rotation.database import drop_broken_connection
from accounts.session.sealing import DEVELOPMENT_KEY, KEY_ID_CHARACTERS, CannotOpen, key_ids, sealing_key_id

_MAKE_ONE = "Make one with: python -c 'import secrets; print(secrets.token_urlsafe(64))'"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Use:
    """The living sessions whose newest copy one key sealed, and when the first and the last of them were stored."""

    sessions: int = 0
    first: datetime | None = None
    last: datetime | None = None


def examine_keys() -> Findings:
    yield _ring()
    ids = key_ids()
    try:
        uses = _uses()
        unseen = _sessions_that_may_need_an_older_key(uses.get(ids[0], _Use()).first)
    except AnyDatabaseError as error:
        drop_broken_connection()
        yield unknown("keys.use", f"Which keys are in use cannot be told: the records gave {type(error).__name__}.")
        uses, unseen = None, 0
    for number, key in enumerate(conf.keys, start=1):
        yield _key(number, key, ids, uses, unseen)
    if uses is not None:
        yield from _missing(uses, ids)


def _ring() -> Finding:
    keys = conf.keys
    lengths = ", ".join(str(len(key)) for key in keys)
    if settings.API_SESSION_KEYS:
        source = "from API_SESSION_KEYS"
    else:
        source = "derived from SECRET_KEY and its fallbacks: to change it changes these too"
    return ok("keys.ring", f"{count(len(keys), 'key')}, {source}. Characters: {lengths}.")


def _key(number: int, key: str, ids: list[str], uses: Mapping[str, _Use] | None, unseen: int) -> Finding:
    name, id_ = f"keys.key-{number}", ids[number - 1]
    label = f"Key {number} (id {id_})"
    if key.startswith(DEVELOPMENT_KEY):
        return problem_in_production(name, f"{label} is the well-known one of a developer's machine.", _MAKE_ONE)
    if number > 1 and id_ in ids[: number - 1]:
        return warning(name, f"{label} is the same as key {ids.index(id_) + 1}.", "List each key once.")
    if uses is None:
        return unknown(name, f"{label}: nothing is known of its use.")
    use = uses.get(id_, _Use())
    stored = f"{count(use.sessions, 'living session')} stored under it{_between(use)}"
    if number == 1:
        return ok(name, f"{label} seals all that is new; {stored}.")
    if use.sessions:
        return ok(name, f"{label} is a former one, with {stored}.", "Keep it, and look again later.")
    if unseen:
        found = f"{label} is a former one with nothing stored under it, but {count(unseen, 'living session')} "
        found += "may still have a cookie of its: they signed in before the first key was seen at work."
        return ok(name, found, "Keep it, and look again later.")
    return ok(name, f"{label} is a former one that no living session needs.", _how_to_drop())


def _how_to_drop() -> str:
    if settings.API_SESSION_KEYS:
        return "It can go from API_SESSION_KEYS, on all hosts."
    return "As far as these sessions go it can leave SECRET_KEY_FALLBACKS; Django's own may still need it."


def _missing(uses: Mapping[str, _Use], ids: list[str]) -> Findings:
    for id_, use in uses.items():
        if id_ not in ids:
            yield problem(
                "keys.missing",
                f"{count(use.sessions, 'living session')}{_between(use)} sealed with key {id_}, which this ring lacks: "
                "their users are visitors here.",
                "Put the key back at the end of the ring, on all hosts. If it was dropped on purpose, end the sessions "
                "in the admin.",
            )


def _between(use: _Use) -> str:
    if use.first is None or use.last is None:
        return ""
    return f" ({use.first:%Y-%m-%d %H:%M} to {use.last:%Y-%m-%d %H:%M} UTC)"


def _uses() -> dict[str, _Use]:
    """By key id, in hex; those of texts that no key of any ring sealed are under "of no known kind"."""
    rows = (
        _living()
        .exclude(sealed="")
        .values(beginning=Substr("sealed", 1, KEY_ID_CHARACTERS))
        .annotate(sessions=Count("pk"), first=Min("last_rotated_at"), last=Max("last_rotated_at"))
    )
    sessions: Counter[str] = Counter()
    moments: dict[str, list[datetime]] = {}
    for row in rows:
        try:
            id_ = sealing_key_id(row["beginning"])
        except CannotOpen:
            id_ = "of no known kind"
        sessions[id_] += row["sessions"]
        moments.setdefault(id_, []).extend(moment for moment in (row["first"], row["last"]) if moment)
    return {
        id_: _Use(sessions=number, first=min(moments[id_], default=None), last=max(moments[id_], default=None))
        for id_, number in sessions.items()
    }


def _sessions_that_may_need_an_older_key(first_key_seen_at: datetime | None) -> int:
    """Living sessions of which the record does not tell what sealed the browser's cookie: they have not rotated yet, or
    nobody was seen with the newest generation. Those that began under the first key have cookies of no other."""
    of_unknown_key = _living().filter(Q(sealed="") | Q(confirmed__lt=F("generation")))
    if first_key_seen_at is not None:
        of_unknown_key = of_unknown_key.filter(signed_in_at__lt=first_key_seen_at)
    return of_unknown_key.count()


def _living() -> SessionRecordQuerySet:
    return SessionRecord.objects.filter(Q(expires_at=None) | Q(expires_at__gt=Now()), ended_at=None).order_by()
