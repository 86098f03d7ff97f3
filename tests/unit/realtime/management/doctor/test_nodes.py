"""What a node says of itself, and what the doctor makes of it (docs/doctor.md)."""

import json
import time
from socket import socket

import pytest

from apps.realtime.management.doctor import nodes as module
from apps.realtime.management.doctor.door import Door
from apps.realtime.management.doctor.findings import Finding, Status
from apps.realtime.management.doctor.nodes import look_at_nodes, within_secs
from tests.unit.realtime.management.doctor.servers import http_server, raw_server

READY = (200, '{"status": "ok", "checks": {"database": "ok"}}')


def metrics(most: str = "65536", opened: str = "40") -> tuple[int, str]:
    return 200, (
        f"process_max_fds {most}\nprocess_open_fds {opened}\nprocess_resident_memory_bytes 62914560\n"
        'realtime_sessions{dialect="v1"} 3\nrealtime_sessions{dialect="seed"} 1\n'
    )


def found(readyz: tuple[int, str], numbers: tuple[int, str]) -> list[tuple[Status, str]]:
    with http_server({"/readyz": readyz, "/metrics": numbers}) as door:
        return [(one.status, one.found.removeprefix(f"{door.name} ")) for one in look_at_nodes([door])]


def test_a_node_that_is_well() -> None:
    assert found(READY, metrics()) == [
        (Status.OK, "is ready"),
        (Status.OK, "has 4 sockets open and holds 60 MiB; 40 of 65,536 files are open"),
    ]
    assert "any number of files" in found(READY, metrics("-1"))[1][1]


@pytest.mark.parametrize(("most", "opened", "status"), [("1024", "40", Status.WARN), ("65536", "60000", Status.FAIL)])
def test_a_node_without_room(most: str, opened: str, status: Status) -> None:
    assert found(READY, metrics(most, opened))[1][0] is status


def test_a_node_that_is_not_ready_says_why() -> None:
    checks = {"database": "ok", "listener": "amqp://mq: gone", "broker": "gone"}
    [(status, text), _] = found((503, json.dumps({"checks": checks})), metrics())
    assert (status, text) == (Status.FAIL, "is not ready: listener: amqp://mq: gone; broker: gone")


@pytest.mark.parametrize("answer", [(404, "<html>"), (301, ""), (503, "[]"), (503, '{"checks": 1}')])
def test_what_is_no_node_is_doubted(answer: tuple[int, str]) -> None:
    [(status, text), _] = found(answer, metrics())
    assert status is Status.WARN
    assert f"answers {answer[0]} to /readyz, and not as a node does" in text


@pytest.mark.parametrize("answer", [(404, ""), (200, "no { metrics"), (200, "other 1\n")])
def test_without_metrics_nothing_is_known_of_files(answer: tuple[int, str]) -> None:
    [_, (status, text)] = found(READY, answer)
    assert (status, "were not seen: no /metrics there" in text) == (Status.SKIP, True)


def one(finding: list[Finding]) -> Finding:
    [found] = finding
    return found


def test_nobody_there_and_one_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_SECS", 0.2)
    with raw_server(lambda connection: connection.recv(10_000) and connection.recv(1)) as door:
        silent = one(list(look_at_nodes([door])))
    assert (silent.status, "does not answer: TimeoutError" in silent.found) == (Status.FAIL, True)

    def speak(connection: socket) -> None:
        connection.recv(10_000)
        connection.sendall(b"nonsense\r\n\r\n")

    with raw_server(speak) as door:
        other = one(list(look_at_nodes([door])))
    assert (other.status, "no answer of HTTP" in other.found) == (Status.FAIL, True)
    gone = one(list(look_at_nodes([door])))
    assert (gone.status, "ConnectionRefusedError" in gone.found) == (Status.FAIL, True)


def test_one_byte_at_a_time_does_not_hold_it_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_SECS", 0.3)

    def drip(connection: socket) -> None:
        try:
            for _ in range(100):
                connection.sendall(b"H")
                time.sleep(0.05)
        except OSError:
            """The doctor has left."""

    began = time.monotonic()
    with raw_server(drip) as door:
        assert one(list(look_at_nodes([door]))).status is Status.FAIL
        assert time.monotonic() - began < 3


def test_without_a_url_it_says_how_to_look() -> None:
    assert {finding.status for finding in look_at_nodes([])} == {Status.SKIP}
    assert within_secs([]) == within_secs([Door.at("http://localhost")]) == 2 * module.ANSWER_SECS
