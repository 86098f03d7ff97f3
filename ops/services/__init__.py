"""Private RabbitMQ and PostgreSQL servers for `make stack` and the tests (docs/stack.md).

Each lives in one folder on ports of its own, so that it may be killed, restarted and thrown away without
touching a system-wide service.
"""

from ops.services.binaries import MissingProgramError
from ops.services.ports import free_port, is_free
from ops.services.postgres import Postgres
from ops.services.process import Process
from ops.services.rabbitmq import RabbitMQ
from ops.services.waiting import DeadlineError, wait_for

__all__ = [
    "DeadlineError",
    "MissingProgramError",
    "Postgres",
    "Process",
    "RabbitMQ",
    "free_port",
    "is_free",
    "wait_for",
]
