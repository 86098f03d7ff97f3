"""Running a server as a user of its own when we are root (docs/stack.md).

PostgreSQL refuses to run as root. As anybody else the servers simply run as that user.
"""

import os
import pwd
import shutil
from pathlib import Path


def as_user(name: str, folder: Path) -> list[str]:
    """The command prefix with which a server runs as `name` and can enter `folder`; empty unless root.

    `setpriv` execs: the server keeps the process id, which a supervisor wants to see, and, unlike under
    `runuser`, our file limit. Below a folder that is closed to others (/root, a `mktemp -d`) it gets the one
    capability to pass: so it starts in any clone, and it could do nothing with it that we, root, could not.
    """
    if os.geteuid() != 0:
        return []
    prefix = ["/usr/bin/setpriv", "--reuid", name, "--regid", name, "--init-groups"]
    if not all(parent.stat().st_mode & 0o001 for parent in folder.parents):
        # The securebit lets access(2), which RabbitMQ trusts, see the capability too.
        prefix += [
            "--inh-caps",
            "+dac_override",
            "--ambient-caps",
            "+dac_override",
            "--securebits",
            "+no_setuid_fixup",
        ]
    return prefix


def give_to(name: str, folder: Path) -> None:
    """Make `folder` and all below it the property of the user `name`; does nothing unless root."""
    if os.geteuid() != 0:
        return
    user = pwd.getpwnam(name)
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, user.pw_uid, user.pw_gid)
