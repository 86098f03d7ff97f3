"""The inbox as one state machine: whatever happens in whatever order, the last count is right (docs/inbox.md)."""

import json
from dataclasses import dataclass

import pytest
from django.db import OperationalError, transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from apps.realtime import notify
from apps.realtime.inbox import changes, listing
from apps.realtime.models import InboxItem, StoredEvent
from apps.realtime.publishing.sequencer import number
from apps.realtime.publishing.targets import Target, user_target
from tests.unit.killed import killed_at

from .conftest import MakeUser

_shares = st.integers(0, 3)


@dataclass
class Item:
    """What the user should see of one notification."""

    mid: str
    group: str | None
    read: bool = False
    hidden: bool = False
    numbered: bool = False


class Inbox(RuleBasedStateMachine):
    """One user, beside another one to whom nothing happens."""

    mine: Target
    others: Target
    undos = Bundle("undos")

    @initialize()
    def begin(self) -> None:
        StoredEvent.objects.all().delete()
        InboxItem.objects.all().delete()
        self.items: list[Item] = []
        self.muted = False
        notify(self.others.user_id, "x", title="Theirs")
        number([self.others.stream])

    @rule(group=st.sampled_from([None, "a", "b"]), event_id=st.sampled_from(["x", "y"]), commits=st.integers(0, 4))
    def somebody_notifies(self, group: str | None, event_id: str, commits: int) -> None:
        with transaction.atomic():
            notify(self.mine.user_id, event_id, title="Hello", group=group)
            transaction.set_rollback(not commits)
        if commits and not (self.muted and event_id == "y"):
            self.items.append(Item(StoredEvent.objects.latest("id").mid, group))

    @rule(dies_at=st.none() | st.none() | st.integers(1, 12))
    def process_numbers(self, dies_at: int | None) -> None:
        try:
            with killed_at(dies_at):
                events = number([self.mine.stream])
        except OperationalError:
            return
        if events:
            self._replace()
            assert {json.loads(event.frame).get("unread") for event in events} <= {None, len(self._unread())}
        self._check_last_count()

    @rule(target=undos, which=_shares)
    def user_reads(self, which: int) -> tuple[str | None, list[str]]:
        mids = [item.mid for item in self.items[which::4]]
        return self._read(changes.read(self.mine, mids), mids)

    @rule(target=undos, which=st.floats(0, 1))
    def user_reads_up_to(self, which: float) -> tuple[str | None, list[str]]:
        upto = round(which * len(self.items))
        mids = [item.mid for item in self.items[:upto]]
        return self._read(changes.read_up_to(self.mine, mids[-1] if mids else ""), mids)

    @rule(target=undos)
    def user_reads_all(self) -> tuple[str | None, list[str]]:
        return self._read(changes.read_all(self.mine), [item.mid for item in self.items])

    @rule(undo=undos)
    def user_takes_it_back(self, undo: tuple[str | None, list[str]]) -> None:
        token, mids = undo
        if token is None:
            return
        # Those that were read again since belong to another call.
        again = {item.mid for item in InboxItem.objects.filter(mid__in=mids) if _token(item) == token}
        changes.undo(self.mine, token)
        for item in self.items:
            item.read = item.read and (item.hidden or item.mid not in again)

    @rule(which=_shares)
    def user_marks_as_unread(self, which: int) -> None:
        changes.unread(self.mine, [item.mid for item in self.items[which::4]])
        for item in self.items[which::4]:
            item.read = item.read and item.hidden

    @rule(which=_shares)
    def user_hides(self, which: int) -> None:
        changes.hide(self.mine, [item.mid for item in self.items[which::4]])
        for item in self.items[which::4]:
            item.hidden = True

    @rule()
    def user_mutes_or_unmutes(self) -> None:
        (changes.unmute if self.muted else changes.mute)(self.mine, "y")
        self.muted = not self.muted

    @invariant()
    def lists_and_counts_are_right(self) -> None:
        if not hasattr(self, "items"):
            return
        assert listing.unread(self.mine.stream) == len(self._unread())
        visible = [item.mid for item in reversed(self.items) if not item.hidden]
        assert [item.mid for item in listing.page(self.mine.stream).items] == visible[: listing.PAGE_ITEMS]
        assert (listing.unread(self.others.stream), len(listing.page(self.others.stream).items)) == (1, 1)

    def teardown(self) -> None:
        """Once all is numbered, the last event about the inbox has the count, and each group one item."""
        if not hasattr(self, "items"):
            return
        while number([self.mine.stream]):
            pass
        self._replace()
        self.lists_and_counts_are_right()
        self._check_last_count()
        groups = [item.group for item in self.items if item.group and not item.hidden]
        assert len(groups) == len(set(groups))
        changes.unmute(self.mine, "y")

    def _read(self, token: str | None, mids: list[str]) -> tuple[str | None, list[str]]:
        changed = [item for item in self.items if item.mid in mids and not (item.hidden or item.read)]
        assert (token is None) == (not changed)
        for item in changed:
            item.read = True
        return token, [item.mid for item in changed]

    def _replace(self) -> None:
        """In each group with an item that was just numbered, the newest stays."""
        touched = {item.group for item in self.items if not item.numbered} - {None}
        for group in touched:
            for item in [item for item in self.items if item.group == group and not item.hidden][:-1]:
                item.hidden = True
        for item in self.items:
            item.numbered = True

    def _check_last_count(self) -> None:
        """Everything has its number: pages show the count of the last event that has one."""
        rows = StoredEvent.objects.filter(stream=self.mine.stream)
        assert not rows.filter(seq=None).exists()
        if last := rows.filter(unread__isnull=False).order_by("-seq").first():
            assert last.unread == len(self._unread())

    def _unread(self) -> list[Item]:
        return [item for item in self.items if not (item.read or item.hidden)]


def _token(item: InboxItem) -> str | None:
    return None if item.read_at is None else item.read_at.strftime("%Y%m%d%H%M%S%f")


@pytest.mark.django_db
def test_the_last_count_is_right(make_user: MakeUser) -> None:
    Inbox.mine, Inbox.others = (user_target(str(make_user(name).pk)) for name in ("ann", "ben"))
    run_state_machine_as_test(
        Inbox,
        settings=settings(
            max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
