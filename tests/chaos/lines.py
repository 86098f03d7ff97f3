"""The card: what is played, in which order, and what is asked of it (docs/chaos.md)."""

from tests.chaos import broker_faults, edge, faults
from tests.chaos.sizes import Size
from tests.chaos.stage import Line


def lines(size: Size) -> list[Line]:
    """All of the card in the order in which it is played."""
    found = size.found_secs
    return [
        Line("no fault", faults.nothing, calm=True),
        Line("RabbitMQ kill -9", broker_faults.broker_killed),
        Line("Daphne kill -9", faults.node_killed),
        Line("Daphne SIGTERM", faults.node_restarted),
        Line("web processes killed", faults.web_killed),
        Line("relay kill -9", faults.relay_killed),
        Line("PostgreSQL kill -9", faults.database_restarted),
        # Its node is not restarted from here on: readers that never read have 30 s.
        Line("readers that never read", edge.readers_stuck),
        Line("TCP half-open, node", broker_faults.node_half_open, limit_secs=found),
        Line("TCP half-open, publishers", broker_faults.publisher_half_open, limit_secs=found),
        Line("queues deleted, consumers cancelled", broker_faults.queues_deleted),
        Line("exchange deleted (404)", broker_faults.exchange_deleted, limit_secs=found),
        Line("Daphne SIGSTOP", faults.node_frozen),
        Line("RabbitMQ SIGSTOP", broker_faults.broker_frozen),
        Line("RabbitMQ gone", broker_faults.broker_gone, median_secs=3.0),
        Line("memory alarm", broker_faults.memory_alarm),
        Line("disk alarm", broker_faults.disk_alarm),
        Line("exchange of another type (406)", broker_faults.exchange_of_another_type),
        Line("rights taken away (403)", broker_faults.rights_taken, limit_secs=found),
        Line("all AMQP connections closed", broker_faults.connections_closed),
        Line("database stalled under load", faults.database_stalled),
        Line("database gone for the nodes", faults.database_gone_for_nodes),
        Line("Daphne has no file left", edge.files_used_up),
        Line("nginx reloaded, workers killed", edge.nginx_reloaded),
        Line("256 kbit/s and packets lost", edge.network_bad, limit_secs=found),
        Line("client networks cut for 2 s", faults.networks_cut),
        Line("every client reconnects", faults.everybody_reconnects),
        Line("history trimmed", faults.history_trimmed, gaps=True),
        Line("backup restored, epoch rotated", faults.backup_restored, gaps=True, verify=faults.everybody_told),
    ]
