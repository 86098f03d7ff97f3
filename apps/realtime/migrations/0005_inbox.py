import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("message_flow", "0004_scheduled_events"),
    ]

    operations = [
        migrations.AddField(
            model_name="storedevent",
            name="unread",
            field=models.IntegerField(null=True),
        ),
        migrations.AddField(
            model_name="stream",
            name="crowded",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.CreateModel(
            name="InboxItem",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("stream", models.CharField(max_length=255)),
                ("user_id", models.CharField(max_length=255)),
                ("mid", models.CharField(max_length=32)),
                ("event_id", models.CharField(max_length=255)),
                ("title", models.CharField(max_length=200)),
                ("url", models.CharField(blank=True, max_length=2000)),
                ("group", models.CharField(db_column="group_key", max_length=200, null=True)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), db_index=True),
                ),
                ("read_at", models.DateTimeField(null=True)),
                ("hidden", models.BooleanField(db_default=False, default=False)),
            ],
            options={
                "verbose_name": "inbox item",
                "indexes": [
                    models.Index(
                        condition=models.Q(("hidden", False)),
                        fields=["stream", "id"],
                        name="message_flow_inbox_visible",
                    ),
                    models.Index(
                        condition=models.Q(("hidden", False), ("read_at__isnull", True)),
                        fields=["stream", "id"],
                        name="message_flow_inbox_unread",
                    ),
                    models.Index(
                        condition=models.Q(("group__isnull", False), ("hidden", False)),
                        fields=["stream", "group"],
                        name="message_flow_inbox_group",
                    ),
                    models.Index(fields=["stream", "read_at"], name="message_flow_inbox_read"),
                ],
                "constraints": [models.UniqueConstraint(fields=("mid",), name="message_flow_inbox_mid")],
            },
        ),
        migrations.CreateModel(
            name="InboxMute",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("stream", models.CharField(max_length=255)),
                ("event_id", models.CharField(max_length=255)),
            ],
            options={
                "verbose_name": "muted event id",
                "constraints": [models.UniqueConstraint(fields=("stream", "event_id"), name="message_flow_inbox_mute")],
            },
        ),
    ]
