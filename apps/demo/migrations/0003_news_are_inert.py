import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("demo", "0002_tasks_and_news"),
    ]

    operations = [
        migrations.AlterField(
            model_name="newsitem",
            name="title",
            field=models.CharField(
                max_length=200,
                validators=[django.core.validators.RegexValidator("[^\\x00-\\x20\\x7f-\\x9f]", "Something to read.")],
            ),
        ),
        migrations.AlterField(
            model_name="newsitem",
            name="url",
            field=models.CharField(
                blank=True,
                max_length=200,
                validators=[
                    django.core.validators.RegexValidator(
                        "^/(?!/)[^\\\\\\x00-\\x1f\\x7f-\\x9f]*\\Z", "A path of this site."
                    )
                ],
            ),
        ),
    ]
