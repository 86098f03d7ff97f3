"""What each node says of itself: whether it is ready, and how much room it has (docs/doctor.md)."""

import json
import re
import resource
import time
from collections.abc import Collection, Iterator
from http import HTTPStatus
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from .door import Door, left
from .findings import Finding, fail, ok, one_line, skip, warn

# /readyz answers within a second.
ANSWER_SECS: Final = 4.0
_ANSWER_MAX_BYTES: Final = 4 * 1024 * 1024
_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3}) ")
# A socket is a file; Debian gives a process 1,024 unless its unit says LimitNOFILE.
FILES_MIN: Final = 4_096
FILES_FULL: Final = 0.7
_LIMIT_ADVICE: Final = "LimitNOFILE=65536 in its unit (ops/systemd/message-flow-ws@.service), then restart it"


def within_secs(doors: Collection[Door]) -> float:
    """What all of it takes at most."""
    return ANSWER_SECS * 2 * max(1, len(doors))


def look_at_nodes(doors: Collection[Door]) -> Iterator[Finding]:
    """/readyz and /metrics of each."""
    if not doors:
        yield skip("no node was asked", "--url http://127.0.0.1:9101, once for each node")
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        yield skip(
            f"file limits of nodes were not seen (this process: {_files(soft)})", "a socket is a file: " + _LIMIT_ADVICE
        )
    for door in doors:
        try:
            status, body = _get(door, "/readyz")
        except (OSError, ValueError) as error:
            yield fail(f"{door.name} does not answer: {one_line(error)}", "start it, or read its log")
            continue
        yield _readiness(door, status, body)
        try:
            status, body = _get(door, "/metrics")
        except (OSError, ValueError) as error:
            yield fail(f"{door.name} stops answering: {one_line(error)}", "read its log")
            continue
        yield from _room(door, status, body)


def _readiness(door: Door, status: int, body: str) -> Finding:
    if status == HTTPStatus.OK:
        return ok(f"{door.name} is ready")
    try:
        checks = json.loads(body)["checks"]
        reasons = "; ".join(f"{name}: {told}" for name, told in checks.items() if told != "ok")
    except (ValueError, LookupError, TypeError, AttributeError):
        return warn(
            f"{door.name} answers {status} to /readyz, and not as a node does",
            "ask the node itself, at its own port; Django must not redirect /readyz (SECURE_REDIRECT_EXEMPT)",
        )
    return fail(f"{door.name} is not ready: {reasons}", "mend that first; the other findings say how")


def _room(door: Door, status: int, body: str) -> Iterator[Finding]:
    samples: dict[str, float] = {}
    try:
        for family in text_string_to_metric_families(body if status == HTTPStatus.OK else ""):
            for sample in family.samples:
                samples[sample.name] = samples.get(sample.name, 0.0) + sample.value
    except ValueError:
        samples = {}
    most, opened = samples.get("process_max_fds"), samples.get("process_open_fds")
    if most is None or opened is None:
        yield skip(
            f"file limits of {door.name} were not seen: no /metrics there", "ask the node itself, at its own port"
        )
        return
    sockets = samples.get("realtime_sessions", 0)
    memory_mib = samples.get("process_resident_memory_bytes", 0) / 1024**2
    told = (
        f"{door.name} has {sockets:.0f} sockets open and holds {memory_mib:.0f} MiB; "
        f"{opened:.0f} of {_files(most)} are open"
    )
    if opened > most * FILES_FULL:
        yield fail(f"{told}: soon it can take no more sockets", _LIMIT_ADVICE)
    elif most < FILES_MIN:
        yield warn(f"{told}: too few for many sockets", _LIMIT_ADVICE)
    else:
        yield ok(told)


def _files(most: float) -> str:
    # -1 and infinity stand for "no limit".
    return f"{most:,.0f} files" if 0 <= most < float("inf") else "any number of files"


def _get(door: Door, path: str) -> tuple[int, str]:
    """Status and body.

    Not by http.client: its timeout begins anew with each byte.

    Raises:
        OSError: nobody is there, or time ran out.
        ValueError: whoever is there speaks no HTTP.
    """
    deadline = time.monotonic() + ANSWER_SECS
    with door.connect(deadline) as connection:
        # In HTTP/1.0 an answer has no chunks and ends with the connection.
        connection.sendall(f"GET {path} HTTP/1.0\r\nHost: {door.host}\r\nAccept: */*\r\n\r\n".encode())
        answer = b""
        while len(answer) < _ANSWER_MAX_BYTES:
            connection.settimeout(left(deadline))
            more = connection.recv(65_536)
            if not more:
                break
            answer += more
    head, _, body = answer.partition(b"\r\n\r\n")
    found = _STATUS.match(head)
    if found is None:
        raise ValueError("no answer of HTTP")
    return int(found[1]), body.decode(errors="replace")
