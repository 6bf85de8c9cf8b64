from django.db import migrations, models


class Migration(migrations.Migration):
    """New names in Python, and new labels. Tables, columns and content types stay as they are."""

    dependencies = [
        ("accounts", "0004_tally"),
    ]

    operations = [
        migrations.AlterModelTable(name="tally", table="accounts_tally"),
        # State only: Django would also rename the content type, and could not name it back without contenttypes.
        migrations.SeparateDatabaseAndState(
            state_operations=[migrations.RenameModel(old_name="Tally", new_name="AttemptCount")]
        ),
        migrations.AlterModelOptions(name="attemptcount", options={"default_permissions": ()}),
        migrations.AlterField(
            model_name="tracedrequest", name="exchange", field=models.UUIDField(db_column="exchange")
        ),
        migrations.RenameField(model_name="tracedrequest", old_name="exchange", new_name="trace_id"),
        migrations.AlterField(
            model_name="sessionrecord",
            name="generation",
            field=models.PositiveBigIntegerField("newest generation", default=0),
        ),
        migrations.AlterField(
            model_name="sessionrecord",
            name="confirmed",
            field=models.PositiveBigIntegerField("newest generation that the browser has sent", default=0),
        ),
        migrations.AlterField(
            model_name="sessionevent",
            name="kind",
            field=models.CharField(
                max_length=16,
                choices=[
                    ("signed-in", "signed in"),
                    ("rotated", "rotated"),
                    ("unstored", "rotated, but the new session could not be stored: only the cookie holds it"),
                    ("adopted", "picked up: the response with the newest session had not reached the browser"),
                    ("handed-off", "session update sent in the body of a stream"),
                    ("handed-over", "session update accepted into the cookie"),
                    ("confirmed", "confirmed: the browser has the newest session"),
                    ("api-away", "the API gave no usable response to the refresh"),
                    ("refused", "ended: the API refused the refresh token"),
                    ("expired", "ended: the refresh token expired"),
                    ("signed-out", "ended: the user signed out"),
                    ("replaced", "ended: the user signed in again"),
                    ("revoked", "ended: staff ended it"),
                    ("reused", "ended for all browsers: an old cookie was used again"),
                ],
            ),
        ),
    ]
