from typing import Any

from django.db import migrations, models
from django.db.models import F, Q
from django.db.models.functions import Now

BATCH = 1000
NEW = models.Index(
    fields=["expiry_check_at", "ended_at"], name="accounts_session_check", condition=Q(ended_at__isnull=True)
)
OLD = models.Index(
    fields=["expires_at", "ended_at"], name="accounts_session_expiry", condition=Q(ended_at__isnull=True)
)


def fill(apps: Any, schema_editor: Any) -> None:
    """For the sessions that are there by now. In batches, because a rotation waits while its row is in one."""
    records = apps.get_model("accounts", "SessionRecord").objects.using(schema_editor.connection.alias)
    rows = records.order_by("pk").values_list("pk", flat=True)
    while ids := list(rows[:BATCH]):
        records.filter(pk__in=ids, expiry_check_at__lte=Now()).update(expiry_check_at=F("expires_at"))
        rows = rows.filter(pk__gt=ids[-1])


def add(index: models.Index, apps: Any, schema_editor: Any) -> None:
    # An interrupted migration may have left it, and PostgreSQL does not use one that is not complete.
    remove(index, apps, schema_editor)
    schema_editor.add_index(apps.get_model("accounts", "SessionRecord"), index, **_concurrently(schema_editor))


def remove(index: models.Index, apps: Any, schema_editor: Any) -> None:
    record = apps.get_model("accounts", "SessionRecord")
    connection = schema_editor.connection
    with connection.cursor() as cursor:
        exists = index.name in connection.introspection.get_constraints(cursor, record._meta.db_table)
    if exists:
        schema_editor.remove_index(record, index, **_concurrently(schema_editor))


def _concurrently(schema_editor: Any) -> dict[str, bool]:
    """On PostgreSQL, rotations go on meanwhile."""
    return {"concurrently": True} if schema_editor.connection.vendor == "postgresql" else {}


def replace_index(apps: Any, schema_editor: Any) -> None:
    fill(apps, schema_editor)
    add(NEW, apps, schema_editor)
    remove(OLD, apps, schema_editor)


def take_back(apps: Any, schema_editor: Any) -> None:
    add(OLD, apps, schema_editor)
    remove(NEW, apps, schema_editor)


class Migration(migrations.Migration):
    """An index that no rotation changes replaces that on `expires_at`. Can be run again after an interruption."""

    atomic = False

    dependencies = [
        ("accounts", "0012_event_totals"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(replace_index, take_back)],
            state_operations=[
                migrations.AddIndex(model_name="sessionrecord", index=NEW),
                migrations.RemoveIndex(model_name="sessionrecord", name=OLD.name),
            ],
        )
    ]
