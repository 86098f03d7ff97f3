"""What people may send (docs/demo.md)."""

from typing import ClassVar, Final

from django import forms

from .models import Comment

TASK_DEFAULT_SECS: Final = 5
TASK_MAX_SECS: Final = 60


class TaskForm(forms.Form):
    """How long the example task takes."""

    seconds = forms.IntegerField(
        label="Duration in seconds", min_value=1, max_value=TASK_MAX_SECS, initial=TASK_DEFAULT_SECS
    )


class NewsForm(forms.Form):
    """One line for everybody."""

    title = forms.CharField(label="Message", max_length=200)


class CommentForm(forms.ModelForm):  # type: ignore[type-arg] # Django's class takes none at run time
    """A comment of the signed-in user."""

    class Meta:
        model = Comment
        fields = ("text",)
        labels: ClassVar = {"text": "Your comment"}
        widgets: ClassVar = {"text": forms.Textarea(attrs={"rows": 3})}
