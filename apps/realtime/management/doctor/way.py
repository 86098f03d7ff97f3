"""Sends one event the whole way, to a real user's socket at a real node (docs/doctor.md)."""

import time
from collections.abc import Collection, Iterator
from queue import Empty
from secrets import token_hex
from typing import Any, Final

from django.contrib.auth import get_user_model
from django.db import transaction

from ...conf import realtime_settings
from ...core.names import user_stream
from ...models import StoredEvent
from ...publishing.notify import notify
from ...publishing.process import publishing_process
from ...signin import NO_SESSION, password_digest
from ...tokens import issue_token
from .database import clock_finding
from .door import Door
from .findings import Finding, Status, fail, ok, skip, warn
from .probe import PROBE_ID
from .relay import wait_for
from .tab import Arrived, Failed, News, Opened, open_tab

LINK_SECS: Final = 5.0
OPEN_SECS: Final = 8.0
ARRIVE_SECS: Final = 8.0
WITHIN_SECS: Final = LINK_SECS + OPEN_SECS + 2 * ARRIVE_SECS
# Later than that it came by a head check, not by the broker (docs/history.md).
SLOW_SECS: Final = 1.0
_LOOK_EVERY_SECS: Final = 0.002


def look_at_way(user_name: str | None, doors: Collection[Door]) -> Iterator[Finding]:
    """Open a tab of the user at each door, `notify` the user, and time every stage."""
    if user_name is None or not doors:
        yield skip("no event was sent the whole way", "--user NAME --url http://127.0.0.1:9101, once for each node")
        return
    users = get_user_model()
    user: Any = users._default_manager.filter(**{users.USERNAME_FIELD: user_name}).first()
    if user is None or not user.is_active:
        yield fail(f"no active user is called {user_name!r}", "--user NAME: a user of yours, best one of its own")
        return
    publisher = publishing_process().publisher
    publisher.start()
    if not wait_for(lambda: publisher.problem is None, LINK_SECS):
        yield fail(f"this process cannot publish: {publisher.problem}", "the findings on the broker say more")
    probe = token_hex(8)
    news: News = News()
    for door in doors:
        open_tab(door, _token(user), probe, news, WITHIN_SECS)
    inside: list[Door] = []
    for told in _word_of(doors, news, OPEN_SECS, "lets nobody in"):
        if isinstance(told, Opened):
            inside.append(told.door)
            yield ok(f"{told.door.name} lets {user_name!r} in after {_ms(told.took_secs)}")
            clock = clock_finding(f"the clock of {told.door.name}", told.behind_secs)
            if clock.status is not Status.OK:
                yield clock
        elif isinstance(told, Failed):
            yield told.finding
    if inside:
        yield from _send(user, probe, inside, news)


def _send(user: Any, probe: str, doors: Collection[Door], news: News) -> Iterator[Finding]:
    alias = realtime_settings().database
    stream = user_stream(str(user.pk))
    events = StoredEvent.objects.using(alias)
    began = time.monotonic()
    with transaction.atomic(using=alias):
        notify(user, PROBE_ID, {"probe": probe})
        stored = events.get(stream=stream, seq__isnull=True, frame__contains=probe).pk
    # From here on others see it.
    committed = time.monotonic()
    event = events.filter(id=stored)
    if not wait_for(event.filter(seq__isnull=False).exists, ARRIVE_SECS, _LOOK_EVERY_SECS):
        yield fail(
            f"the event was stored in {_ms(committed - began)}, but nobody has given it a number within "
            f"{ARRIVE_SECS:.0f} s",
            "another transaction may hold the stream's row: look for old ones (pg_stat_activity)",
        )
        return
    numbered_secs = time.monotonic() - committed
    arrived: list[Arrived] = []
    for told in _word_of(doors, news, ARRIVE_SECS, "has the user's tab, but not the event"):
        if isinstance(told, Arrived):
            arrived.append(told)
        elif isinstance(told, Failed):
            yield told.finding
    # Looked for every few milliseconds, which may be later than a tab that is told.
    numbered_secs = min([numbered_secs, *(told.at - committed for told in arrived)])
    stages = [f"stored in {_ms(committed - began)}", f"numbered {_ms(numbered_secs)} after the commit"]
    stages += [f"on the socket at {told.door.name} after {_ms(told.at - committed)}" for told in arrived]
    if wait_for(event.filter(confirmed_at__isnull=False).exists, ARRIVE_SECS, _LOOK_EVERY_SECS):
        stages.append(f"its confirm written down after {_ms(time.monotonic() - committed)}")
    else:
        yield fail(
            f"the broker has not confirmed the event within {ARRIVE_SECS:.0f} s",
            publishing_process().publisher.problem or "read RabbitMQ's log of this moment",
        )
    told_stages = "an event was " + ", ".join(stages)
    if any(told.at - committed > SLOW_SECS for told in arrived):
        yield warn(
            f"{told_stages}: late, so it was found in the database and not pushed",
            "the node's listener: its /readyz and log; whether both sides use one broker, vhost and exchange",
        )
    else:
        yield ok(told_stages)


def _word_of(
    doors: Collection[Door], news: News, within_secs: float, silent: str
) -> Iterator[Opened | Arrived | Failed]:
    """What each of the doors says next; of one that says nothing, that it failed."""
    waiting = list(doors)
    deadline = time.monotonic() + within_secs
    while waiting:
        try:
            told = news.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            break
        # One that was given up may come late.
        if told.door in waiting:
            waiting.remove(told.door)
            yield told
    for door in waiting:
        yield Failed(door, fail(f"{door.name} {silent}, within {within_secs:.0f} s", "read the node's log"))


def _ms(secs: float) -> str:
    return f"{secs * 1000:.0f} ms"


def _token(user: Any) -> str:
    return issue_token(
        user_id=str(user.pk),
        username=user.get_username(),
        mark=NO_SESSION,
        password=password_digest(user),
        now=time.time(),
    ).text
