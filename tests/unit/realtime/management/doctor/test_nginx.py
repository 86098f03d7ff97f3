"""nginx's configuration against the settings of the site (docs/doctor.md)."""

from pathlib import Path

import pytest
from pytest_django import Settings

from apps.realtime.management.doctor.findings import Finding, Status
from apps.realtime.management.doctor.nginx import look_at_nginx
from ops.render import render

OURS = Path(__file__).resolve().parents[5] / "ops/nginx/message-flow.conf"
GOOD = """
server {
    server_name example.org;
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $connection;
    proxy_http_version 1.1;
    location = /websocket { proxy_pass http://nodes; proxy_read_timeout 60s; }
    location = /metrics { return 404; }
    location / { proxy_pass http://web; }
}
"""


def look(tmp_path: Path, text: str) -> list[Finding]:
    file = tmp_path / "site.conf"
    file.write_text(text)
    return list(look_at_nginx(str(file)))


def problems(tmp_path: Path, text: str) -> list[tuple[Status, str]]:
    return [(one.status, one.found) for one in look(tmp_path, text) if one.status is not Status.OK]


def test_our_own_file_is_fine(tmp_path: Path) -> None:
    names: dict[str, str | int] = {
        "NODE_1_PORT": 9101,
        "NODE_2_PORT": 9102,
        "WEB_SOCKET": "/s",
        "STATIC_ROOT": "/r",
        "LOG": "/l",
    }
    text = render(OURS, names | {"LISTEN": "443 ssl", "SERVER_NAME": "example.org"})
    [finding] = look(tmp_path, text)
    assert finding.status is Status.OK
    assert "example.org cuts a silent socket after 60s; heartbeats come every 45 to 53 s" in finding.found


@pytest.mark.parametrize(
    ("old", "new", "status", "told"),
    [
        ("proxy_read_timeout 60s;", "proxy_read_timeout 30s;", Status.FAIL, "cuts a silent socket after 30s"),
        ("proxy_read_timeout 60s;", "proxy_read_timeout 54s;", Status.WARN, "a slow network loses quiet tabs"),
        ("proxy_read_timeout 60s;", "proxy_read_timeout never;", Status.WARN, "which is no time"),
        ("proxy_http_version 1.1;", "", Status.FAIL, "passes no WebSocket on"),
        ("proxy_set_header Upgrade $http_upgrade;", "", Status.FAIL, "passes no WebSocket on"),
        ("$http_host", "example.internal", Status.FAIL, "another Host than the browser asked for (example.internal)"),
        ("proxy_set_header Host $http_host;", "", Status.FAIL, "that of the upstream"),
        ("$remote_addr", "$proxy_add_x_forwarded_for", Status.WARN, "what clients claim about their address"),
        ("proxy_set_header X-Forwarded-For $remote_addr;", "", Status.WARN, "does not tell nodes the client's address"),
        ("proxy_set_header X-Forwarded-Proto $scheme;", "", Status.FAIL, "which SECURE_PROXY_SSL_HEADER trusts"),
        ("location = /metrics { return 404; }", "", Status.WARN, "lets everybody read /metrics"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, status: Status, told: str) -> None:
    assert old in GOOD
    [(found_status, found)] = problems(tmp_path, GOOD.replace(old, new))
    assert found_status is status
    assert told in found


def test_without_a_location_of_its_own_that_of_all_pages_counts(tmp_path: Path) -> None:
    # With nginx's own timeout, a minute.
    assert problems(tmp_path, GOOD.replace("= /websocket", "= /elsewhere")) == []


def test_a_header_of_its_own_costs_a_location_all_others(tmp_path: Path) -> None:
    text = GOOD.replace("proxy_pass http://nodes;", "proxy_pass http://nodes; proxy_set_header X-Own 1;")
    assert len(problems(tmp_path, text)) == 4


def test_the_longer_the_heartbeat_the_longer_the_timeout(tmp_path: Path, settings: Settings) -> None:
    settings.REALTIME_HEARTBEAT_SECS = 20
    assert problems(tmp_path, GOOD.replace("60s", "30s")) == []


def test_no_header_is_needed_that_nobody_trusts(tmp_path: Path, settings: Settings) -> None:
    settings.SECURE_PROXY_SSL_HEADER = None
    assert problems(tmp_path, GOOD.replace("proxy_set_header X-Forwarded-Proto $scheme;", "")) == []


def test_a_folder_is_read_as_debian_s(tmp_path: Path) -> None:
    (tmp_path / "nginx.conf").write_text("http { proxy_read_timeout 20s; include sites-enabled/*; }")
    (tmp_path / "mime.types").write_text("types {")
    (tmp_path / "sites-enabled").mkdir()
    (tmp_path / "sites-enabled/site").write_text(GOOD.replace(" proxy_read_timeout 60s;", ""))
    [finding] = look_at_nginx(str(tmp_path))
    assert (finding.status, "after 20s" in finding.found) == (Status.FAIL, True)


def test_what_cannot_be_read_and_what_is_not_there(tmp_path: Path) -> None:
    [missing] = look_at_nginx(str(tmp_path / "none.conf"))
    assert (missing.status, "cannot be read: No such file" in missing.found) == (Status.FAIL, True)
    [(status, told)] = problems(tmp_path, "server {")
    assert (status, "is no configuration of nginx" in told) == (Status.FAIL, True)
    [(status, told)] = problems(tmp_path, "server { return 301 https://x; }")
    assert (status, "passes /websocket on" in told) == (Status.FAIL, True)


def test_without_a_path_it_says_how_to_look() -> None:
    [finding] = look_at_nginx(None)
    assert finding.status is Status.SKIP
    assert "proxy_read_timeout of /websocket is above 55 s" in finding.advice
