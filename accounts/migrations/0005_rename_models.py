from django.db import migrations, models


class Migration(migrations.Migration):
    """New names in Python. Tables and columns keep theirs, so no statement reaches the database."""

    dependencies = [
        ("accounts", "0004_tally"),
    ]

    operations = [
        migrations.AlterModelTable(name="tally", table="accounts_tally"),
        migrations.RenameModel(old_name="Tally", new_name="AttemptCount"),
        migrations.AlterModelOptions(name="attemptcount", options={"default_permissions": ()}),
        migrations.AlterField(
            model_name="tracedrequest", name="exchange", field=models.UUIDField(db_column="exchange")
        ),
        migrations.RenameField(model_name="tracedrequest", old_name="exchange", new_name="trace_id"),
    ]
