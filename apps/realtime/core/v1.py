"""The dialect realtime.v1: structured frames, topics, errors that are told (docs/protocol.md, "realtime.v1")."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from .actions import Acknowledged, Action, CatchUp, Leave, Send, Subscribe
from .codes import (
    ACK,
    AUTH,
    AUTH_FAILED,
    AUTH_OK,
    AUTH_REQUEST,
    ERROR,
    GAP,
    RECONNECT,
    SUBSCRIBE,
    SUBSCRIBED,
    UNSUBSCRIBE,
    UNSUBSCRIBED,
    AuthReason,
    CloseCode,
    ErrorCode,
    GapReason,
    StreamState,
    UnsubscribedReason,
)
from .errors import BadRecipient
from .names import Stream, topic_stream, user_stream
from .receipts import Receipts
from .resume import DENIED, Cursor, Head, Position, Verdict, parse_cursor
from .seed import is_json
from .session import Instant, Session, SessionConfig, State
from .window import WINDOW_EVENTS

REF_MAX_CHARS: Final = 64


class _BadFrame(Exception):
    """A frame that is JSON but not what its id asks for; the message is told to the client."""


@dataclass(frozen=True, slots=True)
class _Frame:
    id: str
    data: dict[str, Any]
    ref: str | int | None


class V1Session(Session):
    """One socket that offered the subprotocol `realtime.v1`."""

    _echoes_heartbeat = True
    _acknowledges = True

    def __init__(self, sid: str, config: SessionConfig) -> None:
        super().__init__(sid, config)
        # Topics of the AUTH frame whose token is being verified.
        self._asked_topics: tuple[str, ...] = ()
        # What the same frame says that the client has.
        self._asked_since: Mapping[str, Cursor] = {}
        # What is subscribed, by the name that the client uses.
        self._topics: dict[str, Stream] = {}

    def subscribed(self, topic: str, ref: str | int | None, stream: Stream, verdict: Verdict) -> list[Action]:
        """Answer to `Subscribe`: the topic's stream is live, or the verdict is `DENIED`.

        Durable events behind the verdict have to be offered by `take` from now on.
        """
        if self.state is not State.OPEN:
            return []
        if verdict is not DENIED:
            self._topics[topic] = stream
            self._positions[stream] = Position(verdict.cursor)
        return [self._subscribed(topic, ref, stream, verdict)]

    @property
    def topics(self) -> tuple[str, ...]:
        return tuple(self._topics)

    def revoked(self, stream: Stream) -> list[Action]:
        """The user may not hear the topic of this stream any more: nothing of it is written from now on."""
        if stream not in self._positions:
            return []
        topic = next(name for name, subscribed in self._topics.items() if subscribed == stream)
        return [self._leave(topic), _send(UNSUBSCRIBED, {"topic": topic, "reason": UnsubscribedReason.REVOKED})]

    def opened(
        self, now: Instant, topics: Mapping[str, Stream | None], verdicts: Mapping[Stream, Verdict]
    ) -> list[Action]:
        self._topics = {topic: stream for topic, stream in topics.items() if stream is not None}
        actions = super().opened(now, topics, verdicts)
        if actions and self._config.tells_acknowledged:
            assert self.identity is not None
            own = user_stream(self.identity.user_id)
            self._receipts = Receipts(own)
            # A page that comes back with a cursor had everything up to it.
            if verdicts[own].state is StreamState.RECOVERED:
                actions.append(Acknowledged(own, verdicts[own].cursor))
        return actions

    def _wanted_topics(self) -> tuple[str, ...]:
        return self._asked_topics

    def _since(self) -> Mapping[str, Cursor]:
        return self._asked_since

    def _frame_received(self, now: Instant, text: str) -> list[Action]:
        try:
            content = json.loads(text)
        except (ValueError, RecursionError):
            if not is_json(text):
                return self._raw_token_received(now, text)
            content = None  # broken or nested too deep
        if isinstance(content, dict) and content.get("id") == ACK:
            return self._acked(content.get("data"))  # exempt from the rate limit
        if not self._take_frame(now):
            return self._too_many_frames()
        ref = None
        try:
            frame = _parse(content)
            ref = frame.ref
            return self._control(frame)
        except _BadFrame as error:
            return [_error(ErrorCode.BAD_FRAME, str(error), ref)]

    def _raw_token_received(self, now: Instant, text: str) -> list[Action]:
        if not self._take_frame(now):
            return self._too_many_frames()
        self._asked_topics, self._asked_since = (), {}
        return self._token_received(text)

    def _acked(self, data: object) -> list[Action]:
        received = data.get("n") if isinstance(data, dict) else None
        assert self._window is not None
        if type(received) is not int or received < 0 or not self._window.acked(received):
            return self._violation(ErrorCode.BAD_FRAME, "n of ACK counts the event frames that were received")
        actions: list[Action] = []
        if self._receipts is not None and (cursor := self._receipts.acked(received)) is not None:
            actions.append(Acknowledged(self._receipts.stream, cursor))
        if self._waiting and self._window.has_room:
            actions.append(CatchUp(tuple(self._waiting)))
            self._waiting.clear()
        return actions

    def _control(self, frame: _Frame) -> list[Action]:
        if frame.id == AUTH:
            token = frame.data.get("token")
            if not isinstance(token, str):
                raise _BadFrame("AUTH needs a token")
            self._asked_topics = self._parse_topics(frame.data.get("topics", []))
            self._asked_since = _parse_since(frame.data.get("since", {}))
            return self._token_received(token)
        if frame.id not in (SUBSCRIBE, UNSUBSCRIBE):
            raise _BadFrame("a client sends AUTH, SUBSCRIBE, UNSUBSCRIBE, ACK or <3")
        if self.state is not State.OPEN:
            return [_error(ErrorCode.NOT_AUTHENTICATED, "AUTH comes first", frame.ref)]
        topic = frame.data.get("topic")
        if not isinstance(topic, str) or _stream_of(topic) is None:
            return [_error(ErrorCode.BAD_TOPIC, "a topic is a text of 1 to 255 characters", frame.ref)]
        if frame.id == UNSUBSCRIBE:
            return self._unsubscribe(topic, frame.ref)
        if topic in self._topics:
            return [self._subscribed(topic, frame.ref, self._topics[topic], self._present(self._topics[topic]))]
        if len(self._topics) >= self._config.max_topics:
            message = f"a socket hears at most {self._config.max_topics} topics"
            return [_error(ErrorCode.TOO_MANY_TOPICS, message, frame.ref)]
        since = frame.data.get("since")
        return [Subscribe(topic, frame.ref, None if since is None else parse_cursor(since))]

    def _parse_topics(self, topics: object) -> tuple[str, ...]:
        if not isinstance(topics, list) or not all(isinstance(topic, str) for topic in topics):
            raise _BadFrame("topics is a list of texts")
        if len(topics) > self._config.max_topics:
            raise _BadFrame(f"a socket hears at most {self._config.max_topics} topics")
        if any(_stream_of(topic) is None for topic in topics):
            raise _BadFrame("a topic is a text of 1 to 255 characters")
        return tuple(dict.fromkeys(topics))

    def _unsubscribe(self, topic: str, ref: str | int | None) -> list[Action]:
        answer = _send(UNSUBSCRIBED, {"topic": topic, "ref": ref})
        return [self._leave(topic), answer] if topic in self._topics else [answer]

    def _leave(self, topic: str) -> Leave:
        stream = self._topics.pop(topic)
        del self._positions[stream]
        self._waiting.discard(stream)
        return Leave(stream)

    def _present(self, stream: Stream) -> Verdict:
        """For who subscribes once more: nothing was missed, and nothing begins anew."""
        position = self._positions[stream]
        return Verdict(StreamState.NEW, Cursor(position.epoch, position.seq), position.seq)

    def _subscribed(self, topic: str, ref: str | int | None, stream: Stream, verdict: Verdict) -> Send:
        return _send(SUBSCRIBED, {"topic": topic, "ref": ref, "stream": stream} | _shown(verdict))

    def _gap(self, stream: Stream, head: Head, reason: GapReason) -> list[Action]:
        return [_send(GAP, {"stream": stream, "epoch": head.epoch, "seq": head.head, "reason": reason})]

    def _auth_request(self, reason: AuthReason, by: float) -> Send:
        return _send(AUTH_REQUEST, {"reason": reason, "attempt": self._attempt, "by": by})

    def _auth_ok(self, now: Instant, topics: Mapping[str, Stream | None], verdicts: Mapping[Stream, Verdict]) -> Send:
        identity = self.identity
        assert identity is not None
        streams: dict[str, dict[str, Any]] = {name: _shown(verdict) for name, verdict in verdicts.items()}
        for topic, stream in topics.items():
            streams[stream or topic_stream(topic)] = {"topic": topic} | _shown(
                DENIED if stream is None else verdicts[stream]
            )
        return _send(
            AUTH_OK,
            {
                "sid": self.sid,
                "user": identity.user_id,
                "exp": identity.expires_at,
                "now": now.wall,
                "heartbeat": self._config.heartbeat_secs,
                "window": WINDOW_EVENTS,
                "streams": streams,
            },
        )

    def _auth_failed(self, *, final: bool) -> Send:
        return _send(AUTH_FAILED, {"code": ErrorCode.TOKEN_REFUSED, "final": final})

    def _violation(self, code: ErrorCode, message: str) -> list[Action]:
        return [_error(code, message), *self.close(CloseCode.PROTOCOL_VIOLATION)]

    def _too_many_frames(self) -> list[Action]:
        return self._violation(ErrorCode.RATE_LIMITED, "too many frames; application calls go over HTTP")

    def reconnect(self, code: CloseCode, after_ms: int, reason: str) -> list[Action]:
        if self.state is State.CLOSED:
            return []
        return [_send(RECONNECT, {"after_ms": after_ms, "reason": reason}), *self.close(code)]


def error_frame(code: ErrorCode, message: str) -> str:
    """An ERROR for a socket that never becomes a session."""
    return _error(code, message).text


def _parse(content: object) -> _Frame:
    if not isinstance(content, dict) or not isinstance(content.get("id"), str):
        raise _BadFrame("a frame is an object with an id")
    data = content.get("data", {})
    if not isinstance(data, dict):
        raise _BadFrame("data is an object")
    ref = data.get("ref")
    if isinstance(ref, bool) or not (ref is None or isinstance(ref, str | int)) or len(str(ref)) > REF_MAX_CHARS:
        raise _BadFrame(f"ref is a text or a number of at most {REF_MAX_CHARS} characters")
    return _Frame(content["id"], data, ref)


def _stream_of(topic: str) -> Stream | None:
    try:
        return topic_stream(topic)
    except BadRecipient:
        return None


def _parse_since(since: object) -> Mapping[str, Cursor]:
    if not isinstance(since, dict):
        raise _BadFrame("since is an object of cursors by stream")
    return {name: parse_cursor(cursor) for name, cursor in since.items()}


def _shown(verdict: Verdict) -> dict[str, Any]:
    shown = {
        "epoch": verdict.cursor.epoch or None,
        "seq": verdict.head,
        "state": verdict.state,
        "replay": verdict.replay,
    }
    return shown if verdict.reason is None else shown | {"reason": verdict.reason}


def _send(frame_id: str, data: dict[str, Any]) -> Send:
    # ASCII only: a lone surrogate that a client sent and gets back could not be encoded otherwise.
    return Send(json.dumps({"id": frame_id, "data": data}))


def _error(code: ErrorCode, message: str, ref: str | int | None = None) -> Send:
    return _send(ERROR, {"code": code, "ref": ref, "message": message})
