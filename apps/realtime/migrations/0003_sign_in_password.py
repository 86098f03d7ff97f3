from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("message_flow", "0002_durable_events")]

    operations = [
        migrations.AddField(
            model_name="signin",
            name="password",
            field=models.CharField(db_default="", default="", max_length=32),
        ),
    ]
