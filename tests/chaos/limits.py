"""Bad conditions that need root, or somebody else's process, to be made (docs/chaos.md)."""

import os
import resource
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def no_more_files(pid: int) -> Iterator[None]:
    """A process that can open no file or socket any more; what it has open stays open."""
    used = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    lowest_free = min(set(range(max(used) + 2)) - used)
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


def can_lose_packets() -> bool:
    """Whether the kernel can be told to."""
    return os.geteuid() == 0 and shutil.which("iptables") is not None


@contextmanager
def packet_loss(ports: Iterable[int], probability: float) -> Iterator[None]:
    """The kernel drops that share of the packets from and to these ports of the loopback."""
    rules = [
        [
            *("INPUT", "-i", "lo", "-p", "tcp", way, str(port)),
            *("-m", "statistic", "--mode", "random", "--probability", str(probability), "-j", "DROP"),
        ]
        for port in ports
        for way in ("--sport", "--dport")
    ]
    try:
        for rule in rules:
            _iptables("-A", rule)
        yield
    finally:
        for rule in rules:
            with suppress(subprocess.CalledProcessError):
                _iptables("-D", rule)


def _iptables(action: str, rule: list[str]) -> None:
    subprocess.run(["iptables", "-w", action, *rule], check=True, capture_output=True, timeout=30)
