import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("message_flow", "0003_sign_in_password"),
    ]

    operations = [
        migrations.CreateModel(
            name="ScheduledEvent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("handle", models.CharField(max_length=32, unique=True)),
                ("due_at", models.DateTimeField(db_index=True)),
                ("event_id", models.CharField(max_length=255)),
                ("data", models.TextField()),
                ("title", models.TextField(null=True)),
                ("url", models.TextField(null=True)),
                ("group", models.TextField(db_column="group_key", null=True)),
                ("targets", models.JSONField()),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
        ),
    ]
