from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("message_flow", "0006_live_nodes"),
    ]

    operations = [
        migrations.CreateModel(
            name="Acknowledged",
            fields=[
                ("stream", models.CharField(max_length=255, primary_key=True, serialize=False)),
                ("epoch", models.CharField(max_length=32)),
                ("seq", models.BigIntegerField()),
            ],
            options={
                "verbose_name_plural": "acknowledged",
            },
        ),
        migrations.CreateModel(
            name="Unseen",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("stream", models.CharField(max_length=255)),
                ("mid", models.CharField(max_length=32)),
                ("due_at", models.DateTimeField(db_index=True)),
            ],
            options={
                "verbose_name_plural": "unseen",
                "indexes": [models.Index(fields=["stream", "due_at"], name="message_flow_unseen_of")],
            },
        ),
    ]
