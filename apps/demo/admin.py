"""Articles, comments and news in the admin: what is saved there notifies too (docs/demo.md)."""

from django.contrib import admin

from .models import Article, Comment, NewsItem


class CommentInline(admin.TabularInline):  # type: ignore[type-arg] # no class of Django's takes it at run time
    """The comments below their article."""

    model = Comment
    extra = 1


@admin.register(Article)
class ArticleAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Articles with their comments."""

    list_display = ("title", "author", "created")
    list_filter = ("author",)
    search_fields = ("title", "body")
    date_hierarchy = "created"
    inlines = (CommentInline,)


@admin.register(Comment)
class CommentAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """All comments."""

    list_display = ("article", "author", "text", "created")
    list_filter = ("author",)
    search_fields = ("text",)
    date_hierarchy = "created"


@admin.register(NewsItem)
class NewsItemAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """All news."""

    list_display = ("title", "by", "created")
    list_filter = ("by",)
    search_fields = ("title",)
    date_hierarchy = "created"
