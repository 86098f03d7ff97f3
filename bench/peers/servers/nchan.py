"""nginx with nchan, in C: how far from it Python is (docs/performance.md).

`uvicorn bench.peers.servers.nchan:application` is what nginx asks who a subscriber is (`nchan_authorize_request`), as
nchan's documentation does it. Publishers post over HTTP.
"""

import http.client
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt

from bench.peers.tokens import user_of

CONFIG = """
daemon off;
master_process off;
load_module {module};
pid {folder}/nginx.pid;
error_log {folder}/nginx.log crit;
worker_rlimit_nofile 20000;
events {{ worker_connections 19000; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    map $arg_topic $hears {{
        ""      "user.$arg_user,all";
        default "user.$arg_user,all,$arg_topic";
    }}
    upstream asked {{
        server 127.0.0.1:{auth_port};
        keepalive 16;
    }}
    server {{
        listen 127.0.0.1:{port};
        location = /websocket {{
            nchan_subscriber websocket;
            nchan_channel_id $hears;
            nchan_channel_id_split_delimiter ",";
            nchan_subscriber_first_message newest;
            nchan_authorize_request /authorize;
        }}
        location = /authorize {{
            internal;
            proxy_pass http://asked;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_set_header X-Original-URI $request_uri;
        }}
        location = /publish {{
            nchan_publisher http;
            nchan_channel_id $arg_to;
        }}
    }}
}}
"""
MODULE = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")


async def application(scope: Any, receive: Any, send: Any) -> None:
    """200 where the token is that of the user in the query, 403 elsewhere."""
    if scope["type"] != "http":
        return
    uri = next(value for name, value in scope["headers"] if name == b"x-original-uri").decode()
    query = parse_qs(urlsplit(uri).query)
    try:
        status = 200 if user_of(query["token"][0]) == query["user"][0] else 403
    except (jwt.PyJWTError, KeyError):
        status = 403
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


class Sender:
    """One connection that is kept."""

    def __init__(self) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", int(os.environ["NCHAN_PORT"]))

    def send(self, to: str, key: int, event: dict[str, str]) -> None:
        """One message."""
        channel = "all" if to == "all" else f"user.{key}" if to == "user" else f"bench-{key}"
        self._connection.request("POST", f"/publish?to={channel}", json.dumps(event, separators=(",", ":")).encode())
        answer = self._connection.getresponse()
        answer.read()
        assert answer.status in (201, 202), answer.status

    def flush(self) -> None:
        """Each message has been answered."""


def sender() -> Sender:
    """For the publisher."""
    return Sender()
