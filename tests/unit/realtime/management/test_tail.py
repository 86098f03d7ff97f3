"""What a shell shows of a stream (docs/commands.md)."""

from dataclasses import replace

import pytest

from apps.realtime.brokers.base import Listener
from apps.realtime.brokers.memory import Exchange, MemoryListener
from apps.realtime.conf import RealtimeSettings, realtime_settings
from apps.realtime.core.events import Event
from apps.realtime.core.names import ALL, user_stream
from apps.realtime.management import tail as module
from apps.realtime.publishing.process import PublishingProcess
from tests.signing import SIGNER
from tests.unit.realtime.core.driver import event

MINE = user_stream("7")


class Link(MemoryListener):
    """The in-process broker with a link that may be down."""

    down: str | None = None

    @property
    def problem(self) -> str | None:
        return self.down


@pytest.fixture
def link(monkeypatch: pytest.MonkeyPatch, process: PublishingProcess) -> Link:
    """Stands in for RabbitMQ."""
    link = Link(process.exchange, None, SIGNER)

    def make(conf: RealtimeSettings, exchange: Exchange) -> Listener:
        return link

    monkeypatch.setattr(module, "make_listener", make)
    monkeypatch.setattr(module, "realtime_settings", lambda: replace(realtime_settings(), amqp_urls=("amqp://x",)))
    return link


def lines_of(link: Link, process: PublishingProcess, *events: Event) -> list[str]:
    """What is shown until all events were, and then Ctrl-C."""
    lines: list[str] = []

    def write(line: str) -> None:
        lines.append(line)
        if line.startswith("connected"):
            for one in events:
                process.exchange.route(one)
        if len([line for line in lines if "{" in line]) == len(events) - 1:
            raise KeyboardInterrupt

    module.tail([MINE], write)
    return lines


def test_it_shows_the_frames_of_its_streams_and_of_everybody_s(link: Link, process: PublishingProcess) -> None:
    mine, everybodys = event(MINE), event(ALL)
    lines = lines_of(link, process, mine, event(user_stream("8")), everybodys)
    assert lines[0] == "listening to all, user.7; Ctrl-C ends it"
    assert lines[1] == "connected"
    assert [line.split(" ", 1)[1] for line in lines[2:]] == [f"user.7 {mine.frame}", f"all {everybodys.frame}"]
    assert not process.exchange.route(mine)


def test_nothing_in_a_frame_steers_the_terminal(link: Link, process: PublishingProcess) -> None:
    lines = lines_of(link, process, event(MINE, event_id="\x1b[2J\u202e\u2028x"), event(MINE))
    # ESC comes escaped from JSON already.
    assert "\\u001b[2J\\u202e\\u2028x" in lines[2]
    assert lines[2].isprintable()


def test_it_says_when_the_link_is_down(link: Link, process: PublishingProcess) -> None:
    link.down = "connection refused"
    lines: list[str] = []

    def write(line: str) -> None:
        lines.append(line)
        if "refused" in line:
            link.down = None
        elif line == "connected":
            raise KeyboardInterrupt

    module.tail([MINE], write)
    assert lines[1:] == ["not connected: connection refused", "connected"]
