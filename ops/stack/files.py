"""Renders the files of ops/ for the stack of this checkout (docs/stack.md)."""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ops.render import render
from ops.services.binaries import NGINX
from ops.stack import layout
from ops.stack.layout import LOG, ROOT, RUN, Ports

_OPS = ROOT / "ops"
BIN = Path(sys.prefix) / "bin"


def write(ports: Ports) -> None:
    """Write the configuration of nginx and supervisor, and a rabbitmqctl for the broker, into run/."""
    for folder in (layout.NGINX_FOLDER, RUN / "supervisor.d"):
        folder.mkdir(exist_ok=True)
    site = layout.NGINX_FOLDER / "message-flow.conf"
    _write(
        site,
        "nginx/message-flow.conf",
        LISTEN=f"127.0.0.1:{ports.http}",
        SERVER_NAME="localhost",
        NODE_1_PORT=ports.node_1,
        NODE_2_PORT=ports.node_2,
        WEB_SOCKET=layout.WEB_SOCKET,
        STATIC_ROOT=RUN / "static",
        LOG=LOG,
    )
    nginx_conf = layout.NGINX_FOLDER / "nginx.conf"
    _write(nginx_conf, "nginx/stack.conf", FOLDER=layout.NGINX_FOLDER, LOG=LOG, SITE=site)
    _write(
        layout.SUPERVISORD_CONF,
        "supervisor/supervisord.conf",
        RUN=RUN,
        LOG=LOG,
        ROOT=ROOT,
        BIN=BIN,
        WEB_SOCKET=layout.WEB_SOCKET,
        NODE_1_PORT=ports.node_1,
        NODE_2_PORT=ports.node_2,
    )
    broker = layout.rabbitmq(ports)
    _write(
        RUN / "supervisor.d" / "stack.conf",
        "supervisor/stack.conf",
        LOG=LOG,
        ROOT=ROOT,
        BIN=BIN,
        EPMD_COMMAND=_command(broker.epmd_command()),
        RABBITMQ_COMMAND=_command(broker.server_command()),
        RABBITMQ_FOLDER=layout.RABBITMQ_FOLDER,
        POSTGRES_COMMAND=_command(layout.postgres(ports).server_command()),
        POSTGRES_FOLDER=layout.POSTGRES_FOLDER,
        NGINX_COMMAND=_command(_nginx_command(nginx_conf)),
        NGINX_FOLDER=layout.NGINX_FOLDER,
    )
    rabbitmqctl = RUN / "rabbitmqctl"
    rabbitmqctl.write_text(f'#!/bin/sh\ncd / && exec {shlex.join(broker.ctl_command())} "$@"\n')
    rabbitmqctl.chmod(0o755)


def _nginx_command(conf: Path) -> list[str]:
    command = [str(NGINX.path()), "-c", str(conf), "-e", str(LOG / "nginx-error.log")]
    # Started by root its workers would become `nobody`, who may not enter every checkout.
    return [*command, "-g", "user root;"] if os.geteuid() == 0 else command


def _command(words: Sequence[str]) -> str:
    """A command line in supervisor's syntax: a shell's quotes, a doubled percent sign, and no comments."""
    return shlex.join(words).replace("%", "%%")


def _write(target: Path, template: str, **values: str | int | Path) -> None:
    layout.write_private(target, render(_OPS / template, values))
