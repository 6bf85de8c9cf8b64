from django.db import migrations, models


class Migration(migrations.Migration):
    """Which sessions one session at the provider has started. Hosts of the release before leave the column empty."""

    dependencies = [
        ("accounts", "0009_devices"),
    ]

    operations = [
        migrations.AddField(
            model_name="sessionrecord",
            name="sid_key",
            field=models.CharField(editable=False, max_length=64, null=True),
        ),
        migrations.AddIndex(
            model_name="sessionrecord",
            index=models.Index(
                condition=models.Q(("sid_key__isnull", False)), fields=["sid_key"], name="accounts_session_sid"
            ),
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
                    ("by-provider", "ended: the provider ended it"),
                    ("other-user", "ended: a refresh returned the tokens of another user"),
                ],
                max_length=16,
            ),
        ),
        migrations.AlterField(
            model_name="sessionrecord",
            name="end_reason",
            field=models.CharField(
                blank=True,
                choices=[
                    ("refused", "the API refused the refresh token"),
                    ("expired", "the refresh token expired"),
                    ("signed-out", "the user signed out"),
                    ("replaced", "the user signed in again"),
                    ("revoked", "staff ended it"),
                    ("max-age", "it reached its maximum age"),
                    ("idle", "it was not used for too long"),
                    ("reused", "a copied cookie was used"),
                    ("ended-elsewhere", "the user ended it from another browser"),
                    ("by-provider", "the provider ended it"),
                    ("other-user", "a refresh returned the tokens of another user"),
                ],
                default="",
                max_length=16,
            ),
        ),
    ]
