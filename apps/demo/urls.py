"""The pages of the example application (docs/demo.md)."""

from django.urls import path

from . import views

app_name = "demo"
urlpatterns = [
    path("", views.home, name="home"),
    path("demo/task/", views.start_task, name="start_task"),
    path("demo/news/", views.publish_news, name="publish_news"),
    path("demo/state/", views.state, name="state"),
    path("demo/articles/", views.articles, name="articles"),
    path("demo/articles/<int:pk>/", views.article, name="article"),
    path("demo/articles/<int:pk>/state/", views.article_state, name="article_state"),
    path("demo/articles/<int:pk>/comments/", views.add_comment, name="add_comment"),
    path("demo/article-2016/", views.article_2016, name="article_2016"),
]
