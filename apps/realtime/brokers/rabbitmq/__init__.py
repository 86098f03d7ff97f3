"""The broker for more than one process: a RabbitMQ topic exchange (docs/brokers.md)."""
