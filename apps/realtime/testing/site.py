"""A node in the test's own thread, on the test's own database connection (docs/testing.md)."""

from dataclasses import replace

from ..conf import realtime_settings
from ..core.names import Stream
from ..history import heads
from ..node.node import Node
from ..rotation import rotate_stream
from ..topics import topic_registry
from .process import CapturingProcess
from .steps import Steps


class Site:
    """What the open tabs of a test share. All on the way to them is as in production, but for the threads, the broker
    between machines and the server's sockets.

    Attributes:
        process: publishes what was committed.
        steps: runs the node.
    """

    def __init__(self, process: CapturingProcess) -> None:
        self.process = process
        self.steps = Steps()
        # None until the first tab.
        self._node: Node | None = None

    @property
    def node(self) -> Node:
        """The node, started."""
        if self._node is None:
            self._node = self.steps.call(self._make_node())
        return self._node

    def end_numbering(self, stream: Stream) -> None:
        """What `manage.py realtime rotate-epoch` does for one stream, and what the node finds at its next look."""
        rotate_stream(stream)
        if self._node is not None:
            self.steps.call(self._observe(self._node, stream))

    def close(self) -> None:
        """End the node and its tabs."""
        if self._node is not None:
            self.steps.call(self._node.close())
        self.steps.end()

    async def _make_node(self) -> Node:
        conf = replace(realtime_settings(), amqp_urls=(), local_socket=None)
        return Node(conf, self.process.exchange, topic_registry(), self.steps)

    async def _observe(self, node: Node, stream: Stream) -> None:
        since = node.hub.position(stream)
        head = (await self.steps.ask(heads, [stream]))[stream]
        node.hub.observe(stream, head, since)
