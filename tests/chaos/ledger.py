"""The committed list: what the database holds, compared with what the publishing processes said (docs/chaos.md)."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psycopg

from tests.chaos.records import Committed, Cursor

_ROWS = """
SELECT id, stream, epoch, seq, mid, frame, extract(epoch FROM created_at)::float8
FROM message_flow_storedevent WHERE seq IS NOT NULL AND id > %s ORDER BY id
"""


class Ledger:
    """Copies every numbered row while it is there: history may be trimmed, and a backup may be restored over it."""

    def __init__(self, url: str, logs: Path) -> None:
        self._url = url
        self._logs = logs
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None
        self._read_up_to = 0
        self._events: dict[tuple[str, str, int], Committed] = {}
        # (publisher, number of its call, stream) of each event.
        self._calls: set[tuple[str, int, str]] = set()
        self.complaints: list[str] = []

    def query(self, statement: str, parameters: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement, straight on the server and not through any proxy."""
        for last_try in (False, True):
            try:
                if self._connection is None:
                    self._connection = psycopg.connect(self._url, autocommit=True, connect_timeout=5)
                return self._connection.execute(statement.encode(), list(parameters)).fetchall()
            except psycopg.OperationalError:
                # The server, or the database, was another one when it was opened.
                self._connection = None
                if last_try:
                    raise
        raise AssertionError("the second try returns or raises")

    def unnumbered(self) -> int:
        """Events that are committed and have no number yet."""
        return int(self.query("SELECT count(*) FROM message_flow_storedevent WHERE seq IS NULL")[0][0])

    def unconfirmed(self) -> int:
        """Events of which the site does not know yet whether the broker has them."""
        return int(self.query("SELECT count(*) FROM message_flow_storedevent WHERE confirmed_at IS NULL")[0][0])

    def heads(self) -> dict[str, Cursor]:
        """Where each stream stands. Only for knowing when to stop waiting: the judge counts events."""
        rows = self.query("SELECT name, epoch, head FROM message_flow_stream")
        return {stream: Cursor(epoch, head) for stream, epoch, head in rows}

    def collect(self) -> None:
        """Copy what has been numbered since the last time. To be called while nothing is unnumbered."""
        returned = self._returned()
        for row_id, stream, epoch, seq, mid, frame, created_at in self.query(_ROWS, [self._read_up_to]):
            self._read_up_to = max(self._read_up_to, row_id)
            data = json.loads(frame)["data"]
            call = (data["by"], data["n"])
            event = Committed(stream, epoch, seq, mid, data["row"], returned.get(call, created_at))
            known = self._events.setdefault((stream, epoch, seq), event)
            if known is not event:
                # Read again after a backup was restored.
                if known.mid != mid:
                    self.complaints.append(f"{stream} seq {seq} of epoch {epoch} was given twice")
                continue
            if (*call, stream) in self._calls:
                self.complaints.append(f"call {call} stands twice in {stream}")
            self._calls.add((*call, stream))

    def begin_anew(self) -> None:
        """A backup was restored: numbers of rows run again from where they stood."""
        self._read_up_to = 0

    @property
    def events(self) -> list[Committed]:
        """All events; those of an older epoch first."""
        return list(self._events.values())

    def compare(self) -> list[str]:
        """What the publishing processes and the database disagree about: nobody may be told of a commit in vain."""
        held = {call[:2] for call in self._calls}
        tried = {(path.stem, line[1]) for path, line in self._lines() if line[0] == "try"}
        wrong = [f"notify() returned, but no row: {call}" for call in sorted(self._returned().keys() - held)]
        return wrong + [f"a row that nobody made: {call}" for call in sorted(held - tried)]

    def _returned(self) -> dict[tuple[str, int], float]:
        return {(path.stem, line[1]): line[2] for path, line in self._lines() if line[0] == "done"}

    def _lines(self) -> Iterable[tuple[Path, list[Any]]]:
        for path in self._logs.glob("*.jsonl"):
            for text in path.read_text().splitlines():
                yield path, json.loads(text)
