"""`realtime sessions` and `realtime kick` (docs/commands.md)."""

from collections.abc import Callable
from typing import Any, Final

from django.core.management.base import CommandError

from ..core.live import SID, LiveSession
from ..core.names import user_stream
from ..people import users_meant
from ..publishing.asking import Report, kick, list_sessions
from .terminal import moment, printable, table

Write = Callable[[str], object]

HEAD: Final = ("sid", "user", "node", "dialect", "connected", "topics", "up to", "unacked", "address")


def show_sessions(who: str | None, taken_as: str | None, write: Write) -> None:
    """Print the open sockets of all nodes, or those of one user.

    Raises:
        CommandError: nobody is meant, or several may be.
    """
    user_id = None if who is None else user_id_of(who, taken_as)
    report = list_sessions(user_id)
    for line in session_lines(report):
        write(line)


def kick_sessions(who: str, taken_as: str | None, write: Write) -> None:
    """Close the sockets of a user, or one session, on every node, and print how many those were.

    Raises:
        CommandError: nobody is meant, or several may be.
    """
    looks_like_sid = SID.fullmatch(who) is not None
    if taken_as == "sid" and not looks_like_sid:
        raise CommandError("the name of a session has 16 characters out of 0-9 and a-f")
    if taken_as == "sid" or (taken_as is None and looks_like_sid and not users_meant(who)):
        report, whose = kick(sid=who), f"the session {who}"
    elif taken_as is None and looks_like_sid:
        raise CommandError(f"{printable(who)} may be a session and is a user: say --as sid, --as name or --as key")
    else:
        user_id = user_id_of(who, taken_as)
        report, whose = kick(user_id=user_id), f"the user of key {user_id}"
    write(f"closed {_count(report.kicked, 'socket')} of {printable(whose)} on {_count(report.answered, 'node')}")
    for line in silence_lines(report):
        write(line)


def user_id_of(who: str, taken_as: str | None) -> str:
    """The id of the one user whom a text means; `taken_as` is `name`, `key`, or None for either.

    Raises:
        CommandError: nobody is meant, or several may be.
        BadRecipient: what no user's key can be.
    """
    if taken_as == "key":
        # Also of a user who does not exist any more.
        user_stream(who)
        return who
    found = users_meant(who)
    if taken_as == "name":
        found = [user for user in found if user.get_username() == who]
    if not found:
        raise CommandError(f"no user is called {who!a}" + ("" if taken_as else ", or has that key"))
    if len(found) > 1:
        raise CommandError(
            f"{printable(who)} is the name of the user of key {found[0].pk}, and the key of another: "
            "say --as name or --as key"
        )
    return str(found[0].pk)


def user_of(user_id: str) -> Any:
    """The user of this id; None where there is none (any more)."""
    return next((user for user in users_meant(user_id) if str(user.pk) == user_id), None)


def session_lines(report: Report) -> list[str]:
    """A table of sessions, their number, and what cannot be known."""
    lines = table(HEAD, [_row(session) for session in report.sessions]) if report.sessions else []
    left_out = report.total - len(report.sessions)
    more = f", {left_out} more than are shown: ask for a user" if left_out else ""
    summary = f"{_count(report.total, 'session')} on {_count(report.answered, 'node')}{more}"
    return [*lines, summary, *silence_lines(report)]


def silence_lines(report: Report) -> list[str]:
    """Which nodes have not answered, and what may be the reason."""
    lines = [f"no answer from {printable(node.name)}, seen {node.seen_secs:.0f} s ago" for node in report.silent]
    if report.silent:
        lines.append("a node that lives looks by itself within 30 s; one that was killed is forgotten after 90 s")
    if report.problem is not None:
        lines.append(f"the broker cannot be reached from here: {printable(report.problem)}")
    return lines


def _row(session: LiveSession) -> tuple[object, ...]:
    user = None if session.user_id is None else f"{session.user_id} {session.username}"
    topics = ", ".join(session.topics) + (f" and {session.more_topics} more" if session.more_topics else "")
    return (
        session.sid,
        user or "(not authenticated)",
        session.node,
        session.dialect,
        moment(session.since),
        topics,
        session.position,
        session.unacked,
        session.address,
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
