from django.db import migrations, models


class Migration(migrations.Migration):
    """Totals of each hour and the newest events of each session. Hosts of the release before write rows instead."""

    dependencies = [
        ("accounts", "0011_expiry_check"),
    ]

    operations = [
        migrations.AddField(
            model_name="sessionrecord",
            name="recent_events",
            field=models.JSONField(blank=True, editable=False, null=True),
        ),
        migrations.CreateModel(
            name="EventTotal",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("hour", models.DateTimeField()),
                ("kind", models.CharField(max_length=16)),
                ("count", models.PositiveBigIntegerField()),
            ],
            options={"default_permissions": ()},
        ),
        migrations.AddConstraint(
            model_name="eventtotal",
            constraint=models.UniqueConstraint(fields=("hour", "kind"), name="accounts_event_total"),
        ),
    ]
