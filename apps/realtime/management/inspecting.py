"""`realtime inspect`: on one screen what explains that a user did not get an event (docs/commands.md)."""

from datetime import datetime
from typing import Final

from ..conf import realtime_settings
from ..core.names import ALL, Stream, topic_stream, user_stream
from ..history import heads
from ..inbox.listing import muted, unread
from ..models import SignIn
from ..models import Stream as StreamRow
from ..publishing.asking import list_sessions
from ..stored import Unsent, last_events, unsent
from ..times import database_time
from .live import Write, session_lines, user_id_of, user_of
from .terminal import moment, printable, table

EVENTS_SHOWN: Final = 10
EVENTS_FOR_ALL_SHOWN: Final = 3
SIGN_INS_SHOWN: Final = 5
MUTED_SHOWN: Final = 5
# Of the topics that the user's sockets listen to.
TOPICS_SHOWN: Final = 10


def inspect(who: str, taken_as: str | None, write: Write) -> None:
    """Print the streams, sign-ins, sockets and last events of a user.

    Raises:
        CommandError: nobody is meant, or several may be.
    """
    user_id = user_id_of(who, taken_as)
    report = list_sessions(user_id)
    topics = sorted({topic for session in report.sessions for topic in session.topics})[:TOPICS_SHOWN]
    streams = [user_stream(user_id), ALL, *map(topic_stream, topics)]
    write(_user_line(user_id))
    for title, lines in (
        ("Streams", _stream_lines(streams)),
        ("Sign-ins, those seen last first", _sign_in_lines(user_id)),
        ("Open sockets", session_lines(report)),
        ("Inbox", _inbox_lines(user_stream(user_id))),
        ("Last events", _event_lines(user_stream(user_id))),
    ):
        write(f"\n{title}")
        for line in lines:
            write(f"  {line}")


def _user_line(user_id: str) -> str:
    user = user_of(user_id)
    if user is None:
        return f"no user has the key {user_id!a} now"
    last_login = getattr(user, "last_login", None)
    signed_in = f"last signed in {moment(last_login)}" if last_login else "never signed in by a form"
    state = "active" if user.is_active else "NOT ACTIVE: every token is refused"
    return f"user {printable(user_id)} {printable(user.get_username())}: {state}, {signed_in}"


def _stream_lines(streams: list[Stream]) -> list[str]:
    written = StreamRow.objects.using(realtime_settings().database).filter(name__in=streams)
    changed = {name: _stored(changed_at) for name, changed_at in written.values_list("name", "changed_at")}
    waiting = unsent(streams)
    rows = [
        (stream, head, floor, epoch, *waiting.get(stream, Unsent()), changed.get(stream, "no event yet"))
        for stream, (epoch, head, floor) in heads(streams).items()
    ]
    return table(("stream", "head", "floor", "epoch", "not numbered", "not published", "changed"), rows)


def _sign_in_lines(user_id: str) -> list[str]:
    sign_ins = SignIn.objects.filter(user_id=user_id)
    shown = sign_ins.order_by("-seen_at")[:SIGN_INS_SHOWN]
    rows = [(one.mark[:8], "ended" if one.ended else "stands", moment(one.seen_at)) for one in shown]
    standing = sign_ins.filter(ended=False).count()
    return [*(table(("mark", "state", "token issued"), rows) if rows else []), f"{standing} stand"]


def _inbox_lines(own: Stream) -> list[str]:
    ids = muted(own)
    more = f" and {len(ids) - MUTED_SHOWN} more" if len(ids) > MUTED_SHOWN else ""
    names = ", ".join(map(printable, ids[:MUTED_SHOWN])) or "nothing"
    return [f"{unread(own)} unread; muted: {names}{more}"]


def _event_lines(own: Stream) -> list[str]:
    found = heads([own, ALL])
    rows = [
        (event.stream, event.seq, event.event_id, event.mid, _stored(event.created_at), event.progress)  # type: ignore[attr-defined]
        for stream, count in ((own, EVENTS_SHOWN), (ALL, EVENTS_FOR_ALL_SHOWN))
        for event in last_events(stream, found[stream].epoch, count)
    ]
    return table(("stream", "seq", "id", "mid", "stored", "progress"), rows) if rows else ["none is kept"]


def _stored(when: datetime) -> str:
    return moment(database_time(when))
