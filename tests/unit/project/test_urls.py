"""Paths that belong to the site as a whole."""

from django.test import Client


def test_the_icon_of_pages_that_name_none(client: Client) -> None:
    answer = client.get("/favicon.ico")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/static/demo/favicon.svg")
    assert "max-age" in answer.headers["Cache-Control"]
