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
                ("due_at", models.DateTimeField()),
                ("event_id", models.CharField(max_length=255)),
                ("data", models.TextField()),
                ("title", models.TextField(null=True)),
                ("url", models.TextField(null=True)),
                ("group", models.TextField(db_column="group_key", null=True)),
                ("targets", models.JSONField()),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("failed_at", models.DateTimeField(null=True)),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("failed_at__isnull", True)),
                        fields=["due_at", "id"],
                        name="message_flow_due",
                    ),
                    models.Index(
                        condition=models.Q(("failed_at__isnull", False)),
                        fields=["failed_at"],
                        name="message_flow_set_aside",
                    ),
                ],
            },
        ),
    ]
