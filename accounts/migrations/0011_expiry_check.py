from datetime import UTC, datetime
from typing import Any

from django.db import migrations, models


def set_fill_factor(apps: Any, schema_editor: Any) -> None:
    """PostgreSQL keeps room in a page for the next version of a row. It applies to pages that it fills from now on."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("ALTER TABLE accounts_sessionrecord SET (fillfactor = 70)")


def reset_fill_factor(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("ALTER TABLE accounts_sessionrecord RESET (fillfactor)")


class Migration(migrations.Migration):
    """When prune_sessions has to look at a session. Hosts of the release before leave the column out: long ago."""

    dependencies = [
        ("accounts", "0010_provider_sessions"),
    ]

    operations = [
        migrations.AddField(
            model_name="sessionrecord",
            name="expiry_check_at",
            # A Value: with anything else, SQLite would copy the table.
            field=models.DateTimeField(
                db_default=models.Value(datetime(1970, 1, 1, tzinfo=UTC)), editable=False, null=True
            ),
        ),
        migrations.RunPython(set_fill_factor, reset_fill_factor),
    ]
