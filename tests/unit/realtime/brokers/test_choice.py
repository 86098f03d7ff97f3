"""The settings choose the broker (docs/brokers.md)."""

from dataclasses import replace

from apps.realtime.brokers.choice import make_listener, make_publisher
from apps.realtime.brokers.memory import Exchange, MemoryListener, MemoryPublisher
from apps.realtime.brokers.rabbitmq.listener import RabbitListener
from apps.realtime.brokers.rabbitmq.publisher import RabbitPublisher
from apps.realtime.conf import realtime_settings


def test_without_a_url_the_broker_is_in_the_process() -> None:
    conf = realtime_settings()
    assert isinstance(make_publisher(conf, Exchange()), MemoryPublisher)
    assert isinstance(make_listener(conf, Exchange()), MemoryListener)


def test_with_a_url_it_is_rabbitmq_and_making_it_connects_nowhere() -> None:
    conf = replace(realtime_settings(), amqp_urls=("amqp://user:password@broker.invalid/",))
    publisher = make_publisher(conf, Exchange())
    assert isinstance(publisher, RabbitPublisher)
    assert publisher.problem == "not connected yet"
    for strategy in ("user", "node"):
        listener = make_listener(replace(conf, queue_strategy=strategy), Exchange())
        assert isinstance(listener, RabbitListener)
        assert listener._per_user_queues is (strategy == "user")
