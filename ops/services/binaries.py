"""Where the programs of the services are (docs/stack.md).

The plain commands of a distribution are no use here: Debian's `rabbitmq-server` changes folder and logs to
a shared file, `initdb` is not in PATH.
"""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

_SYSTEM_FOLDERS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class MissingProgramError(RuntimeError):
    """A program is not installed; the message names it and its package."""


@dataclass(frozen=True)
class Program:
    """A program: its name, the Debian package that brings it and where it may lie outside PATH."""

    name: str
    package: str
    places: tuple[str, ...] = ()

    def find(self) -> Path | None:
        """The newest of `places` that exists, else what PATH or the system's folders have."""
        for place in self.places:
            found = sorted(Path("/").glob(f"{place.lstrip('/')}/{self.name}"), key=_numbers_in)
            if found:
                return found[-1]
        path = shutil.which(self.name) or shutil.which(self.name, path=_SYSTEM_FOLDERS)
        return Path(path) if path else None

    def path(self) -> Path:
        """Where it is; raises `MissingProgramError`."""
        found = self.find()
        if found is None:
            raise MissingProgramError(f"{self.name} is not installed (Debian and Ubuntu: package {self.package})")
        return found


def _numbers_in(path: Path) -> list[int]:
    """Sorts /usr/lib/postgresql/9 before /usr/lib/postgresql/15."""
    return [int(number) for number in re.findall(r"\d+", str(path))]


_RABBITMQ_PLACES = ("/usr/lib/rabbitmq/bin", "/opt/rabbitmq/sbin", "/usr/local/opt/rabbitmq/sbin")
_POSTGRES_PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin")

RABBITMQ_SERVER = Program("rabbitmq-server", "rabbitmq-server", _RABBITMQ_PLACES)
RABBITMQCTL = Program("rabbitmqctl", "rabbitmq-server", _RABBITMQ_PLACES)
EPMD = Program("epmd", "rabbitmq-server")
ERL_CALL = Program("erl_call", "erlang-base", ("/usr/lib/erlang/bin",))
POSTGRES = Program("postgres", "postgresql", _POSTGRES_PLACES)
INITDB = Program("initdb", "postgresql", _POSTGRES_PLACES)
PSQL = Program("psql", "postgresql", _POSTGRES_PLACES)
NCHAN = Program("ngx_nchan_module.so", "libnginx-mod-nchan", ("/usr/lib/nginx/modules",))
PGBOUNCER = Program("pgbouncer", "pgbouncer")
NGINX = Program("nginx", "nginx")
REDIS_SERVER = Program("redis-server", "redis-server")
CHROMIUM = Program("chromium", "chromium")
SYSTEMD_ANALYZE = Program("systemd-analyze", "systemd")
PROMTOOL = Program("promtool", "prometheus")
SYSTEMD_NSPAWN = Program("systemd-nspawn", "systemd-container")
DEBOOTSTRAP = Program("debootstrap", "debootstrap")
IP = Program("ip", "iproute2")
