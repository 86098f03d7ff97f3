"""The numbers that a site can watch, as Prometheus reads them (docs/health.md).

Labels are words of this code and hosts of the settings, never a user's text: their number is bounded. Where the words
are known each has its series from the start: Prometheus sees no increase in a series that begins at 1.

A server of several processes, such as gunicorn, may show them together (PROMETHEUS_MULTIPROC_DIR); `multiprocess_mode`
says what a gauge is then. The default, a label `pid`, would be a new series for each process.
"""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from .core.codes import GapReason

PUBLISHED: Final = Counter("realtime_events_published", "Events handed to the broker, by outcome", ["outcome"])
PUBLISH_DROPPED: Final = Counter(
    "realtime_events_publish_dropped", "Ephemeral events that never reached the broker, by reason", ["reason"]
)
PUBLISH_WAITING: Final = Gauge(
    "realtime_events_publish_waiting", "Events in the buffer of this process", multiprocess_mode="livesum"
)
RECEIVED: Final = Counter("realtime_events_received", "Events that came from the broker")
BODIES_DROPPED: Final = Counter(
    "realtime_bodies_dropped", "Messages from the exchange that are no event, by reason", ["reason"]
)
DELIVERED: Final = Counter(
    "realtime_deliveries", "Event frames written to sockets, by source: live, memory, database", ["source"]
)
# A local broker takes milliseconds, a node without its broker 2 s, a lease that has to run out 30 s, an outage longer.
DELIVERY_SECS: Final = Histogram(
    "realtime_delivery_seconds",
    "From the call of notify or push to the sockets of this node, for events that came by the broker",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
CLOCK_SKEWED: Final = Counter(
    "realtime_delivery_clock_skew", "Events that were made later than they were delivered, as the clocks say"
)
UNACKED: Final = Gauge(
    "realtime_events_unacked",
    "Event frames that the clients of this node have not acknowledged",
    multiprocess_mode="livesum",
)
WINDOW_DROPPED: Final = Counter(
    "realtime_events_window_dropped", "Ephemeral events not written to a socket whose window was full"
)
HISTORY_READS: Final = Counter("realtime_history_reads", "Queries for heads and history by this node")
STREAM_STATES: Final = Counter("realtime_stream_states", "Streams announced to clients, by state", ["state"])
GAPS: Final = Counter("realtime_gaps", "Streams that a client had to load anew, by reason", ["reason"])
EPOCHS_ROTATED: Final = Counter("realtime_epochs_rotated", "Numberings that a node ended because they ran back")
NUMBERED: Final = Counter("realtime_events_numbered", "Durable events that this process numbered")
SETTLED: Final = Counter("realtime_events_settled", "Durable events handed to the broker, by outcome", ["outcome"])
ROWS_PRUNED: Final = Counter("realtime_rows_pruned", "Rows of history that were trimmed", ["confirmed"])
SCHEDULED_LATE: Final = Gauge(
    "realtime_scheduled_late_seconds",
    "How long ago the oldest scheduled event was due that is not fired; 0 without one",
    multiprocess_mode="livemax",
)
SCHEDULED_FAILED: Final = Counter(
    "realtime_scheduled_failed", "Scheduled events that were set aside because they cannot be stored"
)
BACKLOG: Final = Gauge(
    "realtime_backlog_events",
    "Durable events that wait, by stage; 10,000 at most",
    ["stage"],
    multiprocess_mode="livemax",
)
BACKLOG_OLDEST_SECS: Final = Gauge(
    "realtime_backlog_oldest_seconds", "How long the oldest of them waits", ["stage"], multiprocess_mode="livemax"
)
RELAY_TURNED_AT: Final = Gauge(
    "realtime_relay_last_turn_timestamp_seconds",
    "Unix time of the relay's last turn in which nothing failed",
    multiprocess_mode="livemax",
)
INBOX_PRUNED: Final = Counter("realtime_inbox_items_pruned", "Items of inboxes that were deleted because they were old")
UNSEEN: Final = Counter("realtime_unseen_batches", "Batches of unseen notifications, by outcome", ["outcome"])
RIGHTS_REVOKED: Final = Counter("realtime_rights_revoked", "Subscriptions ended because the right to them was lost")
WRITERS: Final = Counter(
    "realtime_sockets", "Accepted sockets, by the way their frames are written: direct, plain", ["writer"]
)
SESSIONS: Final = Gauge("realtime_sessions", "Open sockets, by dialect", ["dialect"], multiprocess_mode="livesum")
AUTHENTICATIONS: Final = Counter("realtime_authentications", "Tokens presented, by result", ["result"])
RECONNECTS_ADVISED: Final = Counter(
    "realtime_reconnects_advised", "Sockets that were asked to come back, by reason", ["reason"]
)
CLOSES: Final = Counter("realtime_closes", "Sockets closed by the server, by code", ["code"])
BROKER_CONNECTED: Final = Gauge(
    "realtime_broker_connected", "1 while the link to the broker is up", ["role"], multiprocess_mode="livemin"
)
BROKER_HOST: Final = Gauge(
    "realtime_broker_host", "1 for the host that the link is up with", ["role", "host"], multiprocess_mode="livemax"
)
BROKER_LINKS_LOST: Final = Counter("realtime_broker_links_lost", "Links to the broker that broke", ["role"])
LOOP_LAG_SECS: Final = Histogram(
    "realtime_loop_lag_seconds",
    "How late the event loop of this node does what is due, four times a second",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)

_KNOWN: Final = (
    (PUBLISHED, ("confirmed", "refused", "unknown")),
    (PUBLISH_DROPPED, ("buffer_full", "exit", "no_server")),
    (GAPS, tuple(GapReason)),
    (SETTLED, ("confirmed", "unconfirmed")),
    (ROWS_PRUNED, ("yes", "no")),
    (AUTHENTICATIONS, ("accepted", "refused", "unavailable")),
    (RECONNECTS_ADVISED, ("drain", "database")),
)


def _begin_at_zero() -> None:
    for counter, words in _KNOWN:
        for word in words:
            counter.labels(word)


_begin_at_zero()
