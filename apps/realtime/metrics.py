"""The numbers that a site can watch, as Prometheus reads them (docs/health.md).

Labels are words of this code and hosts of the settings, never a user's text: their number is bounded.
"""

from typing import Final

from prometheus_client import Counter, Gauge

PUBLISHED: Final = Counter("realtime_events_published", "Events handed to the broker, by outcome", ["outcome"])
PUBLISH_DROPPED: Final = Counter(
    "realtime_events_publish_dropped", "Ephemeral events that never reached the broker, by reason", ["reason"]
)
PUBLISH_WAITING: Final = Gauge("realtime_events_publish_waiting", "Events in the buffer of this process")
RECEIVED: Final = Counter("realtime_events_received", "Events that came from the broker")
BODIES_DROPPED: Final = Counter(
    "realtime_bodies_dropped", "Messages from the exchange that are no event, by reason", ["reason"]
)
DELIVERED: Final = Counter(
    "realtime_deliveries", "Event frames written to sockets, by source: live, memory, database", ["source"]
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
)
RIGHTS_REVOKED: Final = Counter("realtime_rights_revoked", "Subscriptions ended because the right to them was lost")
WRITERS: Final = Counter(
    "realtime_sockets", "Accepted sockets, by the way their frames are written: direct, plain", ["writer"]
)
SESSIONS: Final = Gauge("realtime_sessions", "Open sockets, by dialect", ["dialect"])
AUTHENTICATIONS: Final = Counter("realtime_authentications", "Tokens presented, by result", ["result"])
CLOSES: Final = Counter("realtime_closes", "Sockets closed by the server, by code", ["code"])
BROKER_CONNECTED: Final = Gauge("realtime_broker_connected", "1 while the link to the broker is up", ["role"])
BROKER_HOST: Final = Gauge("realtime_broker_host", "1 for the host that the link is up with", ["role", "host"])
BROKER_LINKS_LOST: Final = Counter("realtime_broker_links_lost", "Links to the broker that broke", ["role"])
