"""Nobody reads, changes or learns anything of another user's by guessing ids (docs/security.md, docs/inbox.md).

Each request of the table names what another user really has, and then what nobody has. Both get the same answer, and
the other user's inbox, counts and tabs are as they were.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pytest

from tests.services.rigs.clients import Tab
from tests.services.rigs.people import Answer, Person
from tests.services.rigs.site import Node
from tests.services.rigs.target import Target, claims_of, request
from tests.services.test_security_http import PATHS, cookies, post

pytest_plugins = ["tests.services.rigs.attacked"]

JSON: Final = {"Accept": "application/json"}
TITLES: Final = ("Salary raised", "Contract ends")
STARTED: Final = "2026-01-01T00:00:00+00:00"


@dataclass(frozen=True)
class Owned:
    """What somebody has, by every name under which others might ask for it.

    Attributes:
        mid: of an unread item; `read_mid` of one that was read.
        undo: the token that takes the reading back.
        stream, user_id, username, sid: the person's.
    """

    mid: str
    read_mid: str
    undo: str
    stream: str
    user_id: str
    username: str
    sid: str


# As it is when nobody has such a thing.
NOBODY: Final = Owned("0" * 32, "f" * 32, "20260101000000000000", "user.987654", "987654", "nobody", "0" * 16)
HTTP: Final[dict[str, Callable[[Person, Owned], Answer]]] = {
    "list from an item on": lambda her, his: her.get(f"/inbox?before={his.mid}", JSON),
    "page from an item on": lambda her, his: her.get(f"/inbox?before={his.mid}"),
    "list of a user": lambda her, his: her.get(f"/inbox?user={his.user_id}&stream={his.stream}", JSON),
    "undo on the page": lambda her, his: her.get(f"/inbox?undo={NOBODY.undo}", JSON),
    "read": lambda her, his: her.post("/inbox/read", {"mid": his.mid}, JSON),
    "read up to": lambda her, his: her.post("/inbox/read", {"upto": his.mid}, JSON),
    "read all of a user": lambda her, his: her.post(
        "/inbox/read", {"upto": "all", "user": his.user_id, "stream": his.stream}, JSON
    ),
    "read by the form": lambda her, his: her.post("/inbox/read", {"mid": his.mid}),
    "unread": lambda her, his: her.post("/inbox/unread", {"mid": his.read_mid}, JSON),
    "undo": lambda her, his: her.post("/inbox/unread", {"undo": his.undo}, JSON),
    "hide": lambda her, his: her.post("/inbox/hide", {"mid": his.mid}, JSON),
    "mute for a user": lambda her, his: her.post("/inbox/mute", {"id": "pay/CHANGED", "user": his.user_id}, JSON),
    "unmute for a user": lambda her, his: her.post("/inbox/unmute", {"id": "pay/CHANGED", "user": his.user_id}, JSON),
    "token of a user": lambda her, his: her.get(f"/socket_auth_token?user={his.user_id}&sub={his.user_id}", JSON),
    "the demo's state of a user": lambda her, his: her.get(f"/demo/state/?user={his.user_id}", JSON),
}
AUTHS: Final[dict[str, Callable[[Owned], dict[str, Any]]]] = {
    "a cursor of the user's stream": lambda his: {"since": {his.stream: {"epoch": "e" * 16, "seq": 0}}},
    "the user's stream as a topic": lambda his: {"topics": [his.stream]},
    "the user's id as a topic": lambda his: {"topics": [his.user_id, his.username]},
}
FRAMES: Final[dict[str, Callable[[Owned], dict[str, Any]]]] = {
    "subscribe to the stream": lambda his: {"id": "SUBSCRIBE", "data": {"topic": his.stream, "ref": 1}},
    "subscribe with a cursor": lambda his: {
        "id": "SUBSCRIBE",
        "data": {"topic": his.stream, "ref": 1, "since": {"epoch": "e" * 16, "seq": 0}},
    },
    "leave the stream": lambda his: {"id": "UNSUBSCRIBE", "data": {"topic": his.stream, "ref": 1}},
    "an event of one's own": lambda his: {"id": "pay/CHANGED", "data": 1, "stream": his.stream, "seq": 9},
    "a change of the inbox": lambda his: {"id": "inbox/CHANGED", "data": {"read": [his.mid]}, "stream": his.stream},
    "a kick": lambda his: {"id": "KICK", "data": {"sid": his.sid, "user": his.user_id}},
}


@pytest.fixture
def mallory(target: Target, victim: Node) -> Person:
    """Somebody signed in who wants to know."""
    return target.person(victim, "mallory")


@dataclass
class Watched:
    """The other user, whose things are guessed."""

    target: Target
    person: Person
    tab: Tab
    owned: Owned

    def push(self, event_id: str) -> None:
        """An event for the person alone."""
        with self.target.publisher() as publisher:
            publisher.publish(self.owned.stream, json.dumps({"id": event_id, "data": None}).encode())

    def state(self) -> dict[str, Any]:
        """All that the person sees; the cursor tells of every event there was."""
        found: dict[str, Any] = self.person.get("/inbox", JSON).json()
        return found


@pytest.fixture
async def watched(target: Target, victim: Node) -> Any:
    """Alice's colleague: two notifications, one of them read, and an open tab."""
    # With an id that stands for nothing else on a page, as 8 does in `utf-8`.
    target.ensure_user("trent")
    target.sql("UPDATE auth_user SET id = 7654321 WHERE username = 'trent'")
    person = target.person(victim, "trent")
    token = target.token(person)
    user_id = claims_of(token)["sub"]
    tab = await Tab.open(victim.websocket, token)
    assert tab.auth_ok is not None
    told = "".join(f"notify({user_id}, 'pay/CHANGED', title={title!r})\n" for title in TITLES)
    target.site.shell("from apps.realtime import notify\n" + told)
    await tab.wait_for_events(len(TITLES))
    unread, other = (item["mid"] for item in person.get("/inbox", JSON).json()["items"][:2])
    undo = person.post("/inbox/read", {"mid": other}, JSON).json()["undo"]
    await tab.wait_for_event("inbox/CHANGED")
    owned = Owned(unread, other, undo, f"user.{user_id}", user_id, "trent", tab.auth_ok["data"]["sid"])
    yield Watched(target, person, tab, owned)
    await tab.close()


def plain(answer: Answer, owned: Owned) -> tuple[int, str]:
    """An answer without what is new in each: CSRF tokens, times, and the names that were asked for."""
    text = re.sub(r'(csrf|name="csrfmiddlewaretoken" value)="\w+"|eyJ[\w.-]+|"expires_at": ?[\d.]+', "", answer.body)
    return answer.status, nameless(text, owned)


def nameless(text: str, owned: Owned) -> str:
    """The text with the same word for every name of what is owned."""
    escaped = owned.stream.replace(".", "%2E")
    for name in (owned.stream, escaped, owned.mid, owned.read_mid, owned.undo, owned.sid):
        text = text.replace(name, "?")
    return re.sub(rf"\b({owned.user_id}|{owned.username})\b", "?", text)


async def test_requests_change_and_tell_nothing_of_another_users(
    target: Target, victim: Node, mallory: Person, watched: Watched
) -> None:
    before, frames = watched.state(), len(watched.tab.events)
    assert before["unread"] >= 1
    for name, ask in HTTP.items():
        answers = [ask(mallory, owned) for owned in (watched.owned, NOBODY)]
        target.tokens.update(re.findall(r"eyJ[\w.-]+", answers[0].body + answers[1].body))
        assert plain(answers[0], watched.owned) == plain(answers[1], NOBODY), name
        assert answers[0].status < 500, name
        assert not [title for title in TITLES if title in answers[0].body], name
    assert watched.state() == before
    # What was meant for the watched tab since then would have come before this.
    watched.push("last/ONE")
    await watched.tab.wait_for_event("last/ONE")
    assert watched.tab.ids[frames:] == ["last/ONE"]


async def test_auth_opens_nothing_of_another_users(
    target: Target, victim: Node, mallory: Person, watched: Watched
) -> None:
    token = target.token(mallory)
    for name, auth in AUTHS.items():
        answers = []
        for owned in (watched.owned, NOBODY):
            tab = await Tab.open(victim.websocket, token, **auth(owned))
            assert tab.auth_ok is not None
            streams = tab.auth_ok["data"]["streams"]
            answers.append(nameless(json.dumps(streams, sort_keys=True), owned))
            assert not {one["state"] for stream, one in streams.items() if stream == owned.stream} - {"denied"}, name
            assert tab.events == [], name
            await tab.close()
        assert answers[0] == answers[1], name


async def test_frames_open_and_change_nothing_of_another_users(
    target: Target, victim: Node, mallory: Person, watched: Watched
) -> None:
    before, frames = watched.state(), len(watched.tab.events)
    token = target.token(mallory)
    for number, (name, frame) in enumerate(FRAMES.items(), 1):
        answers = []
        for owned in (watched.owned, NOBODY):
            tab = await Tab.open(victim.websocket, token)
            tab.control.clear()
            await tab.send(frame(owned))
            # Answered at the latest after what comes behind it.
            await tab.send({"id": "SUBSCRIBE", "data": {"topic": "salaries", "ref": "last"}})
            await tab.wait_until(
                lambda tab=tab: [one for one in tab.control if one.get("data", {}).get("ref") == "last"],  # type: ignore[misc]
                what=name,
            )
            answers.append(nameless(json.dumps(tab.control), owned))
            if owned is watched.owned:
                watched.push("secret/ONE")
                await watched.tab.wait_for_events(frames + number)
            assert tab.events == [], name
            await tab.close()
        assert answers[0] == answers[1], name
    assert watched.state() == before
    assert set(watched.tab.ids[frames:]) == {"secret/ONE"}


def test_staff_without_a_permission_sees_and_kicks_nobody(target: Target, victim: Node) -> None:
    person = target.person(victim, "clerk")
    target.sql("UPDATE auth_user SET is_staff = true, is_superuser = false WHERE username = 'clerk'")
    pages = [path for path in PATHS if path.startswith("/admin/message_flow/")]
    assert len(pages) > 5
    for path in pages:
        # A redirect is to where it is refused, or to the admin's first page.
        assert request(victim, path, headers=cookies(person)).status in (302, 403, 404, 405), path
        assert post(victim, path, person, {"sid": "x", "user": "1"}).status in (302, 403, 404, 405), path
    [kick] = (path for path in pages if path.endswith("/kick/"))
    assert post(victim, kick, person, {"sid": "x", "user": "1"}).status == 403
