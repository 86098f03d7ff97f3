"""What the publisher and the clients of every peer have in common (docs/chaos.md).

Both say `ready`, work until their standard input ends, and then print one line of JSON.
"""

import asyncio
import json
import sys
import threading
import time
from collections.abc import Awaitable, Callable

# An event that was seen by all clients before the count begins.
HELLO = 0


def publish(send: Callable[[int], None], rate: float) -> None:
    """Send 0 until a line comes, as a hello; then 1, 2, 3 … at `rate` a second. Prints how many were sent."""
    told = threading.Event()
    over = threading.Event()

    def listen_to_stdin() -> None:
        sys.stdin.readline()
        told.set()
        sys.stdin.read()
        over.set()

    threading.Thread(target=listen_to_stdin, daemon=True).start()
    print("ready", flush=True)
    while not told.wait(0.2):
        send(HELLO)
    n = 0
    due = time.monotonic()
    while not over.is_set():
        n += 1
        send(n)
        due += 1 / rate
        time.sleep(max(0.0, due - time.monotonic()))
    print(json.dumps(n), flush=True)


async def listen(client: Callable[[str, list[int]], Awaitable[None]], count: int, urls: list[str]) -> None:
    """Run `count` clients, spread over the addresses; `ready` once each has seen a hello. Prints what each received."""
    received: list[list[int]] = [[] for _ in range(count)]
    clients = [asyncio.ensure_future(client(urls[number % len(urls)], received[number])) for number in range(count)]
    while not all(received):
        await asyncio.sleep(0.05)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for each in clients:
        each.cancel()
    print(json.dumps([[n for n in numbers if n != HELLO] for numbers in received]), flush=True)
