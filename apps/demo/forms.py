"""What people may send (docs/demo.md)."""

from typing import ClassVar, Final

from django import forms

from .models import Comment, NewsItem

TASK_DEFAULT_SECS: Final = 5
TASK_MAX_SECS: Final = 60


class TaskForm(forms.Form):
    """How long the example task takes."""

    seconds = forms.IntegerField(
        label="Duration in seconds", min_value=1, max_value=TASK_MAX_SECS, initial=TASK_DEFAULT_SECS
    )


class NewsForm(forms.ModelForm):  # type: ignore[type-arg] # Django's class takes none at run time
    """One line for everybody."""

    class Meta:
        model = NewsItem
        fields = ("title",)
        labels: ClassVar = {"title": "Message"}


class CommentForm(forms.ModelForm):  # type: ignore[type-arg] # Django's class takes none at run time
    """A comment of the signed-in user."""

    class Meta:
        model = Comment
        fields = ("text",)
        labels: ClassVar = {"text": "Your comment"}
        widgets: ClassVar = {"text": forms.Textarea(attrs={"rows": 3})}
