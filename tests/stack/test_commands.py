"""`make stack` and `make stack-stop` as somebody at a shell meets them (docs/stack.md)."""

import os
import re
import signal
import socket
import stat
from pathlib import Path

import pytest

from ops.services import is_free
from ops.services.ports import LOOPBACK
from tests.stack.checkout import Checkout
from tests.stack.pages import Home

# The start of every JSON Web Token whose header begins with "alg": what a search for known tokens could miss.
ANY_TOKEN = re.compile(rb"eyJ[A-Za-z0-9_-]{10,}\.")


def test_a_second_start_says_so_and_changes_nothing(calm: Checkout) -> None:
    before = calm.pid("rabbitmq"), calm.pid("web")
    status, printed = calm.make("stack")
    assert status == 0
    assert "is running already" in printed
    assert f"http://127.0.0.1:{calm.port}/" in printed
    assert (calm.pid("rabbitmq"), calm.pid("web")) == before


def test_settings_are_for_their_owner_alone(calm: Checkout) -> None:
    mode = (calm.folder / "run" / "stack.env").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
        for target in ("stack", "demo"):
            status, printed = Checkout(tmp_path).make(target, port)
            assert status != 0
            assert [line for line in printed.splitlines() if str(port) in line] == [
                f"Port {port} is in use. Try: make {'stack ' if target == 'stack' else ''}PORT={port + 1}"
            ]
            assert "Traceback" not in printed


def test_stopping_where_nothing_runs_is_no_error(tmp_path: Path) -> None:
    assert Checkout(tmp_path).make("stack-stop") == (0, "No stack is running here.\n")


@pytest.mark.late(2)
def test_no_token_is_in_any_log(calm: Checkout, shaken: Checkout, idle_home: Home) -> None:
    for stack in (calm, shaken):
        person = stack.person("bob")
        secrets = [*idle_home.tokens, person.token(), person.cookie("sessionid")]
        # Where a careless client might put it.
        person.get(f"/websocket?token={secrets[-2]}")
        person.get(f"/readyz?token={secrets[-2]}", {"Authorization": f"Bearer {secrets[-2]}"})
        secrets += [token for known in stack.people for token in known.tokens]
        assert stack.logs
        for log in stack.logs:
            content = log.read_bytes()
            assert not [secret for secret in secrets if secret.encode() in content], log
            assert not ANY_TOKEN.search(content), log


@pytest.mark.late(3)
def test_stop_ends_a_half_dead_stack_and_a_new_start_keeps_its_data(shaken: Checkout) -> None:
    shaken.manage("shell", "-c", "from django.contrib.auth.models import User; User.objects.create_user('dora')")
    keeper, supervisord = shaken.pid("keeper"), shaken.supervisord()
    for pid in (keeper, supervisord, shaken.pid("ws:ws-1"), shaken.pid("nginx")):
        # The keeper is stopped first: it would start everything again.
        if pid is not None and pid == keeper:
            os.kill(pid, signal.SIGSTOP)
        elif pid is not None:
            os.kill(pid, signal.SIGKILL)
    assert shaken.processes(), "the kills left nothing to end"

    _stop_and_expect_nothing_left(shaken)
    # As after a power cut: files of processes that are gone, their numbers given to others.
    (shaken.folder / "run" / "supervisord.pid").write_text("1\n")
    (shaken.folder / "run" / "postgres" / "data" / "postmaster.pid").write_text("1\n")
    shaken.start()
    names = shaken.manage("shell", "-c", "from django.contrib.auth.models import User; print(User.objects.count())")
    assert names.split()[-1] == "4"
    _stop_and_expect_nothing_left(shaken)


@pytest.mark.late(4)
def test_stop_leaves_no_process_behind(calm: Checkout) -> None:
    _stop_and_expect_nothing_left(calm)


def _stop_and_expect_nothing_left(stack: Checkout) -> None:
    ports = (stack.port, *stack.node_ports())
    assert stack.make("stack-stop") == (0, "The stack has ended; its data stay in run/.\n")
    assert stack.processes() == {}
    assert all(map(is_free, ports))
