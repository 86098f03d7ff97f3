"""Nodes and sockets in the test's own event loop (docs/node.md)."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from apps.realtime.conf import realtime_settings
from apps.realtime.node.node import Node
from apps.realtime.publishing.process import PublishingProcess
from apps.realtime.topics import TopicRegistry

from .sockets import Socket

MakeNode = Callable[..., Node]
OpenSocket = Callable[..., Socket]


@pytest.fixture
async def make_node(process: PublishingProcess, topics: TopicRegistry) -> AsyncIterator[MakeNode]:
    """Makes a node on the in-process broker; fields of its settings can be replaced, beyond what a site may set."""
    nodes: list[Node] = []

    def make(**changes: Any) -> Node:
        node = Node(replace(realtime_settings(), **changes), process.exchange, topics)
        # No jitter: what a test waits for comes when it is due.
        node.session_config = replace(node.session_config, heartbeat_jitter_secs=lambda: 0.0)
        nodes.append(node)
        return node

    yield make
    for node in nodes:
        await node.close()


@pytest.fixture
async def open_socket(make_node: MakeNode) -> AsyncIterator[OpenSocket]:
    """Opens a socket, at a node of its own if none is given, and ends it after the test."""
    sockets: list[Socket] = []

    def open_(node: Node | None = None, **handshake: Any) -> Socket:
        socket = Socket((node or make_node()).serve, **handshake).open()
        sockets.append(socket)
        return socket

    yield open_
    for socket in sockets:
        await socket.leave()
