"""The nginx of the site, with the configuration that production has (docs/chaos.md)."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path

from ops.render import render
from ops.services import Process, free_port, wait_for
from ops.services.binaries import NGINX
from ops.services.ports import answers

_CONFIG = Path(__file__).parents[2] / "ops" / "nginx"
_READY_SECS = 30


class Nginx:
    """One nginx before the nodes."""

    def __init__(self, folder: Path, nodes: Sequence[int]) -> None:
        self.port = free_port()
        folder.mkdir()
        site, conf, log = folder / "message-flow.conf", folder / "nginx.conf", folder / "nginx.log"
        values: dict[str, str | int | Path] = {
            "LISTEN": f"127.0.0.1:{self.port}",
            "SERVER_NAME": "localhost",
            "WEB_SOCKET": folder / "nobody.sock",
            "STATIC_ROOT": folder,
            "LOG": folder,
            **{f"NODE_{number}_PORT": port for number, port in enumerate(nodes, 1)},
        }
        site.write_text(render(_CONFIG / "message-flow.conf", values))
        conf.write_text(render(_CONFIG / "stack.conf", {"FOLDER": folder, "LOG": folder, "SITE": site}))
        command = [str(NGINX.path()), "-c", str(conf), "-e", str(log)]
        # Started by root its workers would become `nobody`, who may not enter every folder.
        self._master = Process([*command, "-g", "user root;"] if os.geteuid() == 0 else command, log, cwd=folder)
        wait_for(lambda: answers(self.port), _READY_SECS, "nginx listens", [log])

    @property
    def workers(self) -> set[int]:
        """The process ids of its workers, of those too that only wait for their connections to end."""
        pid = self._master.pid
        return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}

    def reload(self) -> None:
        """Read the configuration anew: new workers take what comes, the old ones keep what they have."""
        self._master.send(signal.SIGHUP)

    def close(self) -> None:
        """End it with all its workers."""
        self._master.kill9()
