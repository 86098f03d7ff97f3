"""Watches streams from a shell, as a node would hear them (docs/commands.md)."""

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from django.core.management.base import CommandError

from ..brokers.choice import make_listener
from ..conf import realtime_settings
from ..core.events import Event
from ..core.names import ALL, Stream
from ..publishing.process import publishing_process
from .terminal import printable


def tail(streams: Iterable[Stream], write: Callable[[str], object]) -> None:
    """Print a line for each event of these streams, and of `all`, until Ctrl-C.

    Raises:
        CommandError: there is no broker that a second process could listen to.
    """
    if not realtime_settings().amqp_urls:
        raise CommandError(
            "without AMQP_URL events stay inside the server process: set it to the broker that the site uses"
        )
    with suppress(KeyboardInterrupt):
        asyncio.run(_tail({ALL, *streams}, write))


async def _tail(streams: set[Stream], write: Callable[[str], object]) -> None:
    def show(event: Event) -> None:
        if event.stream in streams:
            # Any program may have published it.
            write(f"{time.strftime('%H:%M:%S')} {event.stream} {printable(event.frame)}")

    listener = make_listener(realtime_settings(), publishing_process().exchange)
    listener.start(show)
    problem: str | None = ""
    try:
        for stream in streams:
            await listener.open(stream)
        write(f"listening to {', '.join(sorted(streams))}; Ctrl-C ends it")
        while True:
            await asyncio.sleep(0.2)
            if listener.problem != problem:
                problem = listener.problem
                write(f"not connected: {problem}" if problem else "connected")
    finally:
        await listener.close()
