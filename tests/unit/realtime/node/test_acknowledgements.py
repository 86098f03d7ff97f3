"""What sockets acknowledge is written down now and then, in batches (docs/unseen.md)."""

import asyncio
import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import pytest
from django.db import OperationalError

from apps.realtime.core.names import Stream
from apps.realtime.core.resume import Cursor
from apps.realtime.node import acknowledgements as module
from apps.realtime.node.acknowledgements import Acknowledgements
from apps.realtime.unseen.acknowledged import write_acknowledged

from .virtual_time import virtual_time

P = ParamSpec("P")
T = TypeVar("T")
A, B, C = Stream("user.a"), Stream("user.b"), Stream("user.c")
EVERY_SECS = 10.0


class Writings:
    """The database."""

    problem: str | None = None

    def __init__(self) -> None:
        self.written: list[dict[Stream, int]] = []
        self.away = False
        self.on_asked: Callable[[], None] = lambda: None

    async def ask(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        assert function is write_acknowledged
        self.on_asked()
        if self.away:
            raise OperationalError("away")
        [cursors] = args
        assert isinstance(cursors, dict)
        self.written.append({stream: cursor.seq for stream, cursor in cursors.items()})
        return cast(T, None)

    def close(self) -> None:
        """Nothing is open."""


def note(acknowledgements: Acknowledgements, stream: Stream, seq: int, epoch: str = "e") -> None:
    acknowledgements.note(stream, Cursor(epoch, seq))


@virtual_time
async def test_the_highest_of_each_stream_is_written_and_only_what_is_new() -> None:
    database = Writings()
    acknowledgements = Acknowledgements(database, write_every_secs=EVERY_SECS)
    acknowledgements.start()
    for stream, seq in ((A, 3), (B, 9), (A, 5), (A, 4)):
        note(acknowledgements, stream, seq)
    await asyncio.sleep(EVERY_SECS - 1)
    assert database.written == []
    await asyncio.sleep(2)
    assert database.written == [{A: 5, B: 9}]
    await asyncio.sleep(5 * EVERY_SECS)
    assert len(database.written) == 1
    # A numbering that began anew.
    note(acknowledgements, A, 1, "f")
    await asyncio.sleep(EVERY_SECS)
    assert database.written[1:] == [{A: 1}]
    await acknowledgements.close()


@virtual_time
async def test_many_go_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STREAMS_A_WRITE", 2)
    database = Writings()
    acknowledgements = Acknowledgements(database, write_every_secs=EVERY_SECS)
    acknowledgements.start()
    for stream in (A, B, C):
        note(acknowledgements, stream, 1)
    await asyncio.sleep(EVERY_SECS + 1)
    assert database.written == [{A: 1, B: 1}, {C: 1}]
    await acknowledgements.close()


@virtual_time
async def test_what_cannot_be_written_is_kept_and_newer_ones_win(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger=module.__name__)
    database = Writings()
    database.away = True
    acknowledgements = Acknowledgements(database, write_every_secs=EVERY_SECS)
    acknowledgements.start()
    note(acknowledgements, A, 5)
    note(acknowledgements, B, 5)
    # It comes while the database is being asked.
    database.on_asked = lambda: note(acknowledgements, A, 6)
    await asyncio.sleep(3 * EVERY_SECS)
    assert [record.getMessage() for record in caplog.records] == [
        "Acknowledgements cannot be written down: OperationalError('away')"
    ]
    database.away = False
    await asyncio.sleep(EVERY_SECS)
    assert database.written == [{A: 6, B: 5}]
    await acknowledgements.close()


@virtual_time
async def test_the_end_writes_the_last_ones_and_waits_for_no_database_that_hangs() -> None:
    database = Writings()
    acknowledgements = Acknowledgements(database, write_every_secs=EVERY_SECS)
    acknowledgements.start()
    note(acknowledgements, A, 5)
    await acknowledgements.close()
    assert database.written == [{A: 5}]

    class Hanging(Writings):
        async def ask(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
            await asyncio.sleep(3600)
            raise AssertionError

    acknowledgements = Acknowledgements(Hanging(), write_every_secs=EVERY_SECS)
    acknowledgements.start()
    note(acknowledgements, A, 5)
    before = asyncio.get_running_loop().time()
    await acknowledgements.close()
    assert asyncio.get_running_loop().time() - before <= module.CLOSE_SECS + 0.1
