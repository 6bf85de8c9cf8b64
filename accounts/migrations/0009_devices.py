from django.db import migrations, models


class Migration(migrations.Migration):
    """The device that a session is bound to, and two kinds of events. Earlier releases leave the columns out."""

    dependencies = [
        ("accounts", "0008_session_limits"),
    ]

    operations = [
        migrations.AddField(
            model_name="sessionrecord",
            name="device_key",
            field=models.CharField(max_length=64, db_default="", editable=False),
        ),
        migrations.AddField(
            model_name="sessionrecord",
            name="device_generation",
            field=models.PositiveBigIntegerField(db_default=0, editable=False),
        ),
        migrations.AddField(
            model_name="sessionrecord",
            name="device_bound_at",
            field=models.DateTimeField("bound to the device", null=True, blank=True, editable=False),
        ),
        migrations.AddField(
            model_name="sessionrecord",
            name="device_host_time",
            field=models.JSONField(null=True, blank=True, editable=False),
        ),
        migrations.AlterField(
            model_name="sessionevent",
            name="kind",
            field=models.CharField(
                choices=[
                    ("signed-in", "signed in"),
                    ("rotated", "rotated"),
                    ("unstored", "rotated, but the new session could not be stored: only the cookie holds it"),
                    ("adopted", "picked up: the response with the newest session had not reached the browser"),
                    ("handed-off", "session update sent in the body of a stream"),
                    ("handed-over", "session update accepted into the cookie"),
                    ("confirmed", "confirmed: the browser has the newest session"),
                    ("bound", "bound to the device of the browser"),
                    ("unproven", "not served: the cookie came without a proof of its device"),
                    ("api-away", "the API gave no usable response to the refresh"),
                    ("refused", "ended: the API refused the refresh token"),
                    ("expired", "ended: the refresh token expired"),
                    ("signed-out", "ended: the user signed out"),
                    ("replaced", "ended: the user signed in again"),
                    ("revoked", "ended: staff ended it"),
                    ("max-age", "ended: it reached its maximum age"),
                    ("idle", "ended: it was not used for too long"),
                    ("reused", "ended for all browsers: an old cookie was used again"),
                    ("ended-elsewhere", "ended: the user ended it from another browser"),
                ],
                max_length=16,
            ),
        ),
    ]
