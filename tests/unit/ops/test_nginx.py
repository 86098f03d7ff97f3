"""ops/nginx/message-flow.conf, rendered as for production, keeps what its comments promise."""

import re
from pathlib import Path

import pytest

from ops.render import render

TEMPLATE = Path(__file__).parents[3] / "ops" / "nginx" / "message-flow.conf"


@pytest.fixture(scope="module")
def site() -> str:
    """The file as production has it."""
    return render(
        TEMPLATE,
        {
            "LISTEN": "443 ssl",
            "SERVER_NAME": "example.org",
            "NODE_1_PORT": 9101,
            "NODE_2_PORT": 9102,
            "WEB_SOCKET": "/run/message-flow/web.sock",
            "STATIC_ROOT": "/var/lib/message-flow/static",
            "LOG": "/var/log/nginx",
        },
    )


def test_access_log_has_no_place_for_a_token(site: str) -> None:
    log_format = re.search(r"log_format message_flow ([^;]+);", site)
    assert log_format
    variables = set(re.findall(r"\$\w+", log_format[1]))
    assert not variables & {"$request", "$request_uri", "$args", "$query_string", "$http_referer", "$http_cookie"}


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Host", "$http_host"),
        ("X-Forwarded-For", "$remote_addr"),
        ("X-Forwarded-Port", "$remote_port"),
        ("X-Forwarded-Proto", "$scheme"),
        ("X-Forwarded-Host", "''"),
        ("Forwarded", "''"),
        ("X-Request-ID", "$request_id"),
    ],
)
def test_what_a_client_claims_about_itself_is_overwritten(site: str, header: str, value: str) -> None:
    # In server {}, and inherited: a location with one of its own would lose all of them.
    assert re.findall(rf"^ *proxy_set_header {header} (.+);$", site, re.MULTILINE) == [value]
    locations = site[site.index("location") :]
    assert "proxy_set_header" not in locations


def test_metrics_are_not_public(site: str) -> None:
    assert re.search(r"location = /metrics \{[^}]*return 404;", site)


def test_a_node_that_failed_once_is_asked_again_at_once(site: str) -> None:
    """nginx forgets a failure when a later request has ended, and sockets last for hours (docs/stack.md)."""
    nodes = re.search(r"upstream message_flow_nodes \{(.+?)\n\}", site, re.DOTALL)
    assert nodes
    assert re.findall(r"^ *server \S+ (.+);$", nodes[1], re.MULTILINE) == ["max_fails=0", "max_fails=0"]


def test_the_web_processes_numbers_are_for_this_machine() -> None:
    shown = render(TEMPLATE.with_name("message-flow-metrics.conf"), {"HOST": "example.org"})
    assert re.findall(r"listen (.+);", shown) == ["127.0.0.1:9191"]
    assert re.findall(r"location (.+) \{", shown) == ["= /metrics", "/"]
    upstreams = re.findall(r"^upstream (\w+)", TEMPLATE.read_text(), re.MULTILINE)
    assert re.findall(r"proxy_pass http://(\w+);", shown)[0] in upstreams
