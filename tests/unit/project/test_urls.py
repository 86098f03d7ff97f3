"""Paths that belong to the site as a whole."""

import pytest
from django.template.loader import render_to_string
from django.test import Client, RequestFactory
from django.utils.functional import SimpleLazyObject


def test_the_icon_of_pages_that_name_none(client: Client) -> None:
    answer = client.get("/favicon.ico")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/static/demo/favicon.svg")
    assert "max-age" in answer.headers["Cache-Control"]


@pytest.mark.parametrize("name", ["403.html", "403_csrf.html", "404.html", "500.html"])
def test_error_pages_ask_nothing_of_the_database(rf: RequestFactory, name: str) -> None:
    """Under ASGI they are made in a thread whose connection nobody closes, or opens again after an outage."""

    def refuse() -> None:
        raise AssertionError("the user was looked up")

    request = rf.get("/")
    request.user = SimpleLazyObject(refuse)  # type: ignore[assignment]
    assert "<h1" in render_to_string(name, {}, request)
