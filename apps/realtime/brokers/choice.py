"""Makes the broker that the settings ask for (docs/brokers.md)."""

from ..conf import RealtimeSettings
from ..core.signature import Signer
from .base import Listener, Publisher
from .memory import Exchange, MemoryListener, MemoryPublisher
from .rabbitmq.listener import RabbitListener
from .rabbitmq.publisher import RabbitPublisher


def make_publisher(conf: RealtimeSettings, exchange: Exchange) -> Publisher:
    """The publisher of this process."""
    signer = Signer(conf.secrets)
    if not conf.amqp_urls:
        return MemoryPublisher(exchange, conf.local_socket, signer)
    return RabbitPublisher(conf.amqp_urls, heartbeat_secs=conf.amqp_heartbeat_secs, signer=signer)


def make_listener(conf: RealtimeSettings, exchange: Exchange) -> Listener:
    """A listener for a node of this process."""
    signer = Signer(conf.secrets)
    if not conf.amqp_urls:
        return MemoryListener(exchange, conf.local_socket, signer)
    return RabbitListener(
        conf.amqp_urls,
        heartbeat_secs=conf.amqp_heartbeat_secs,
        per_user_queues=conf.queue_strategy == "user",
        signer=signer,
    )
