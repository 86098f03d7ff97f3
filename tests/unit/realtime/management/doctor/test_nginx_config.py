"""nginx's configuration, read as nginx reads it (docs/doctor.md)."""

import pytest

from apps.realtime.management.doctor.nginx_config import BadConfig, blocks, location_for, parse, seconds, values

TEXT = """
# comment { ;
http {
    map $a $b { default "a;b{}"; '' 'it\\'s'; }
    server { listen 80; return 301 https://$host$request_uri; }
    server {
        listen 443 ssl;  # comment
        location ${PREFIX}/static/ { alias ${ROOT}/x; }
        location / { proxy_pass http://web; }
    }
}
"""


def test_blocks_quotes_comments_and_variables() -> None:
    config = parse(TEXT)
    assert [directive.name for directive in config] == ["http"]
    [mapping] = blocks(config, "map")
    assert [(one.name, one.arguments) for one in mapping.block] == [("default", ["a;b{}"]), ("", ["it\\'s"])]
    first, second = blocks(config, "server")
    assert values(first.block, "return") == [["301", "https://$host$request_uri"]]
    assert values(second.block, "listen") == [["443", "ssl"]]
    assert [one.arguments for one in blocks(config, "location")] == [["${PREFIX}/static/"], ["/"]]


@pytest.mark.parametrize("text", ["server {", "}", "server { listen 80 }", "listen 80", "{ }", ";", 'a "b'])
def test_what_nginx_would_refuse(text: str) -> None:
    with pytest.raises(BadConfig):
        parse(text)


@pytest.mark.parametrize(
    ("locations", "path", "chosen"),
    [
        (["/", "= /websocket"], "/websocket", "= /websocket"),
        (["/", "/web"], "/websocket", "/web"),
        (["/web", "~ ^/websocket$"], "/websocket", "~ ^/websocket$"),
        (["^~ /web", "~ ^/websocket$"], "/websocket", "^~ /web"),
        (["/", "~* ^/WEB", "~ ^/web"], "/websocket", "~* ^/WEB"),
        (["/", "~ ^/WEB", "~ ("], "/websocket", "/"),
        (["= /other", "/static/"], "/websocket", None),
    ],
)
def test_the_location_of_a_path_is_the_one_that_nginx_takes(
    locations: list[str], path: str, chosen: str | None
) -> None:
    text = "".join(f"location {one} {{ return 204; }}" for one in locations)
    [server] = parse(f"server {{ {text} }}")
    found = location_for(server, path)
    assert (found and " ".join(found.arguments)) == chosen


@pytest.mark.parametrize(
    ("text", "secs"),
    [("60s", 60), ("60", 60), ("1m", 60), ("1m30s", 90), ("500ms", 0.5), ("1h", 3_600), ("soon", None), ("", None)],
)
def test_times(text: str, secs: float | None) -> None:
    assert seconds(text) == secs
