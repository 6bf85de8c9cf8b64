from django.db import migrations, models


class Migration(migrations.Migration):
    """The host's clock beside the database's. Hosts of the release before leave all these columns out."""

    dependencies = [
        ("accounts", "0005_rename_models"),
    ]

    operations = [
        migrations.AddField(
            model_name="sessionrecord",
            name="retired_host_times",
            field=models.JSONField(null=True, blank=True, editable=False),
        ),
        migrations.AddField(
            model_name="sessionrecord",
            name="lease_host_time",
            field=models.JSONField(null=True, blank=True, editable=False),
        ),
        migrations.AddField(
            model_name="sessionrecord",
            name="revocations_left",
            field=models.PositiveSmallIntegerField(db_default=3, editable=False),
        ),
    ]
