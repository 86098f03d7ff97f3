"""`manage.py realtime doctor`: what it takes and in which order it looks (docs/doctor.md)."""

import argparse
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError, CommandParser

from ...conf import realtime_settings
from . import broker, database, nginx, nodes, relay, site, way
from .areas import Area, look_at
from .door import BadUrl, Door
from .findings import Placed, Status, Writer

_SITE_SECS = 15.0


def add_arguments(parser: CommandParser) -> None:
    """The options of `doctor`."""
    parser.add_argument("--url", action="append", default=[], type=_door, help="of a node; once for each")
    parser.add_argument("--user", metavar="NAME", help="send one event the whole way, to this user's tab at each --url")
    parser.add_argument("--nginx", metavar="PATH", help="nginx's configuration: a file, or a folder such as /etc/nginx")
    parser.add_argument(
        "--role", choices=broker.ROLES, default="both", help="what this process's user of the broker is for"
    )
    parser.add_argument("--json", action="store_true", help="for a program")


def examine(options: dict[str, Any], write: Callable[[str], object]) -> None:
    """Look at everything and say what is found.

    Raises:
        CommandError: something fails.
    """
    # What pika has to say of a broker that refuses is said here, in a line.
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    writer = Writer(site.secrets_of_site())
    shown: list[Placed] = []
    for placed in look_at(_areas(options)):
        shown.append(Placed(placed.area, writer.cleaned(placed.finding)))
        if not options["json"]:
            write(writer.lines(shown[-1]))
    if options["json"]:
        write(writer.json(shown))
    failed = sum(placed.finding.status is Status.FAIL for placed in shown)
    if failed:
        raise CommandError(f"{failed} of {len(shown)} findings are failures")


def _areas(options: dict[str, Any]) -> list[Area]:
    areas = [
        Area("settings", site.look_at_settings, _SITE_SECS),
        Area("client", site.look_at_client, _SITE_SECS),
    ]
    try:
        realtime_settings()
    except ImproperlyConfigured:
        return areas  # the first one says so, and the others could not begin
    doors: list[Door] = options["url"]
    areas += [
        Area("nginx", partial(nginx.look_at_nginx, options["nginx"]), nginx.WITHIN_SECS),
        Area("database", database.look_at_database, database.WITHIN_SECS),
        Area("broker", partial(broker.look_at_broker, options["role"]), broker.within_secs()),
        Area("relay", relay.look_at_relay, relay.WITHIN_SECS, needs=["database"]),
        Area("nodes", partial(nodes.look_at_nodes, doors), nodes.within_secs(doors)),
    ]
    if options["role"] != "node":  # its user may not publish
        areas.append(Area("way", partial(way.look_at_way, options["user"], doors), way.WITHIN_SECS, needs=["database"]))
    return areas


def _door(url: str) -> Door:
    try:
        return Door.at(url)
    except BadUrl as error:
        raise argparse.ArgumentTypeError(str(error)) from None
