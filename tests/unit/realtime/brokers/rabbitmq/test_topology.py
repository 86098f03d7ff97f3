"""Names on the RabbitMQ side (docs/protocol.md, section 3)."""

from apps.realtime.brokers.rabbitmq.topology import QueueNames, redacted, uses_user_queue, with_query
from apps.realtime.core.names import ALL, topic_stream, user_stream


def test_a_queue_has_a_new_name_for_each_declaration_that_fits_amqp() -> None:
    longest = user_stream("a" * 180)
    names, others = QueueNames(), QueueNames()
    made = [names.next(longest), names.next(longest), names.next("node"), others.next("node")]
    assert len(set(made)) == 4
    assert all(name.startswith("realtime.") and len(name.encode()) <= 255 for name in made)


def test_only_a_user_has_a_queue_of_its_own() -> None:
    assert uses_user_queue(user_stream("7"))
    assert not uses_user_queue(ALL)
    assert not uses_user_queue(topic_stream("news"))


def test_parameters_are_added_and_the_operator_s_win() -> None:
    assert with_query("amqp://host/vhost", heartbeat=10) == "amqp://host/vhost?heartbeat=10"
    url = with_query("amqps://u:p%40@host:5671/%2F?heartbeat=30&channel_max=9", heartbeat=10, name="message-flow 1")
    assert url == "amqps://u:p%40@host:5671/%2F?heartbeat=30&name=message-flow+1&channel_max=9"


def test_a_log_line_names_neither_user_nor_password() -> None:
    assert redacted("amqp://user:secret@host/vhost?x=secret") == "amqp://host:5672/vhost"
    assert redacted("amqps://user:secret@host") == "amqps://host:5671"
    assert redacted("amqp://user:secret@[::1]:5673/%2F") == "amqp://::1:5673/%2F"
