"""nginx's configuration against the settings of this site (docs/doctor.md)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from django.conf import settings

from ...conf import realtime_settings
from ...node.node import HEARTBEAT_JITTER_SECS
from .findings import Finding, fail, ok, skip, warn
from .nginx_config import BadConfig, Directive, blocks, location_for, parse, seconds, values

WITHIN_SECS: Final = 10.0
# For a heartbeat to arrive.
ARRIVAL_SECS: Final = 2.0
# nginx's own.
_READ_TIMEOUT_SECS: Final = 60.0
_FILE_MAX_BYTES: Final = 4 * 1024 * 1024
_EXAMPLE: Final = "see ops/nginx/message-flow.conf"


def look_at_nginx(path: str | None) -> Iterator[Finding]:
    """The servers of a file or a folder of files that pass the socket on. Includes are not followed."""
    conf = realtime_settings()
    if path is None:
        yield skip(
            "nginx was not looked at",
            f"--nginx /etc/nginx, or see that proxy_read_timeout of {conf.path} is above "
            f"{conf.heartbeat_secs + HEARTBEAT_JITTER_SECS + ARRIVAL_SECS:.0f} s (nginx -T)",
        )
        return
    found: list[Directive] = []
    try:
        for file in _files(Path(path)):
            found += parse(file.read_bytes()[:_FILE_MAX_BYTES].decode(errors="replace"))
    except OSError as error:
        yield fail(f"{path} cannot be read: {error.strerror or error}", "run the doctor as somebody who may")
        return
    except BadConfig as error:
        yield fail(f"{file} is no configuration of nginx: {error}", "nginx -t says more")
        return
    common = [one for http in blocks(found, "http") for one in http.block]
    servers = [
        (server, location, [location.block, server.block, common])
        for server in blocks(found, "server")
        if (location := location_for(server, conf.path)) is not None and values(location.block, "proxy_pass")
    ]
    if not servers:
        yield fail(f"no server in {path} passes {conf.path} on", f"add such a location: {_EXAMPLE}")
    for server, _, levels in servers:
        name = " ".join(" ".join(names) for names in values(server.block, "server_name")) or "a server without a name"
        yield _timeout(name, levels)
        yield from _upgrade(name, levels)
        yield from _headers(name, levels)
        yield from _metrics(name, server)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    # As Debian's nginx.conf includes them. The folder's other files are maps of types and snippets of locations.
    return sorted(
        file
        for file in path.rglob("*")
        if file.is_file() and (file.suffix == ".conf" or file.parent.name == "sites-enabled")
    )


def _timeout(name: str, levels: list[list[Directive]]) -> Finding:
    text = (_inherited(levels, "proxy_read_timeout") or [["60s"]])[-1][0]
    timeout = seconds(text)
    conf = realtime_settings()
    slowest = conf.heartbeat_secs + HEARTBEAT_JITTER_SECS
    told = (
        f"{name} cuts a silent socket after {text}; heartbeats come every {conf.heartbeat_secs:.0f} to {slowest:.0f} s"
    )
    if timeout is None:
        return warn(f"{name} has proxy_read_timeout {text}, which is no time", "nginx -t says more")
    advice = f"set proxy_read_timeout {slowest + 7:.0f}s in the location, or REALTIME_HEARTBEAT_SECS lower"
    if timeout <= slowest:
        return fail(f"{told}: quiet tabs reconnect again and again", advice)
    if timeout < slowest + ARRIVAL_SECS:
        return warn(f"{told}: a slow network loses quiet tabs", advice)
    return ok(told)


def _upgrade(name: str, levels: list[list[Directive]]) -> Iterator[Finding]:
    headers = _proxy_headers(levels)
    version = (_inherited(levels, "proxy_http_version") or [["1.0"]])[-1][0]
    missing = [one for one in ("upgrade", "connection") if one not in headers]
    if version != "1.1" or missing:
        yield fail(
            f"{name} passes no WebSocket on: it needs proxy_http_version 1.1 and the headers Upgrade and Connection",
            _EXAMPLE,
        )


def _headers(name: str, levels: list[list[Directive]]) -> Iterator[Finding]:
    headers = _proxy_headers(levels)
    host = headers.get("host")
    if host not in ("$http_host", "$host"):
        yield fail(
            f"{name} tells nodes another Host than the browser asked for ({host or 'that of the upstream'}): they take "
            "the site's own pages for foreign ones and close with 4505",
            "proxy_set_header Host $http_host;",
        )
    address = headers.get("x-forwarded-for")
    if address != "$remote_addr":
        yield warn(
            f"{name} passes on what clients claim about their address"
            if address
            else f"{name} does not tell nodes the client's address: limits per address count everybody as one",
            "proxy_set_header X-Forwarded-For $remote_addr;",
        )
    trusted: tuple[str, str] | None = getattr(settings, "SECURE_PROXY_SSL_HEADER", None)
    if trusted:
        header = trusted[0].removeprefix("HTTP_").replace("_", "-").lower()
        if not headers.get(header):
            yield fail(
                f"{name} does not set {header}, which SECURE_PROXY_SSL_HEADER trusts: a client may, and says that it "
                "came by HTTPS",
                f"proxy_set_header {header} $scheme;",
            )


def _metrics(name: str, server: Directive) -> Iterator[Finding]:
    location = location_for(server, "/metrics")
    here = location.block if location is not None else server.block
    closed = values(here, "return") or ["all"] in values(here, "deny") or values(here, "auth_basic")
    if not closed:
        yield warn(f"{name} lets everybody read /metrics", "location = /metrics { return 404; }")


def _proxy_headers(levels: list[list[Directive]]) -> dict[str, str]:
    return {words[0].lower(): words[1] for words in _inherited(levels, "proxy_set_header") if len(words) == 2}


def _inherited(levels: list[list[Directive]], name: str) -> list[list[str]]:
    """nginx takes all directives of a name from the innermost level that has one."""
    return next((found for level in levels if (found := values(level, name))), [])
