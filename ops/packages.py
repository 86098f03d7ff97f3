"""Names the packages that are missing on this machine (docs/stack.md).

    python3 -m ops.packages stack|test|systemd|drops|bench

prints one Debian package a line; ops/install-test-deps installs them.
"""

import sys

from ops.services.binaries import (
    CHROMIUM,
    DEBOOTSTRAP,
    EPMD,
    ERL_CALL,
    INITDB,
    IP,
    NCHAN,
    NGINX,
    PGBOUNCER,
    POSTGRES,
    PROMTOOL,
    PSQL,
    RABBITMQ_SERVER,
    RABBITMQCTL,
    REDIS_SERVER,
    SYSTEMD_ANALYZE,
    SYSTEMD_NSPAWN,
)

_STACK = (RABBITMQ_SERVER, RABBITMQCTL, EPMD, POSTGRES, INITDB, PSQL, NGINX)
PROGRAMS = {
    "stack": _STACK,
    "test": (*_STACK, ERL_CALL, CHROMIUM, PGBOUNCER, SYSTEMD_ANALYZE, PROMTOOL),
    "drops": (*_STACK, REDIS_SERVER),
}
PROGRAMS["systemd"] = (SYSTEMD_ANALYZE, SYSTEMD_NSPAWN, DEBOOTSTRAP, IP)
PROGRAMS["bench"] = (*PROGRAMS["drops"], NCHAN)


def missing(purpose: str) -> list[str]:
    """The Debian packages to install so that all programs for `purpose` are there."""
    return sorted({program.package for program in PROGRAMS[purpose] if program.find() is None})


if __name__ == "__main__":
    print("\n".join(missing(sys.argv[1])))
