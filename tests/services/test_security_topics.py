"""Topics that a user may not hear never become a binding of the broker (docs/security.md, docs/topics.md)."""

from typing import Final

import pytest

from tests.services.rigs.clients import Tab
from tests.services.rigs.people import Person
from tests.services.rigs.site import Node
from tests.services.rigs.target import Target, claims_of

pytest_plugins = ["tests.services.rigs.attacked"]
pytestmark = pytest.mark.usefixtures("healthy_afterwards")

# The demo site declares `article-{id}`, for articles that exist.
DENIED: Final = {
    "undeclared": "salaries",
    "declared, but nothing is there": "article-999999",
    "every topic, in AMQP": "#",
    "every word, in AMQP": "*",
    "a pattern behind the prefix": "article-#",
    "two words": "article-1.2",
    "another user's stream": "user.1",
    "everybody's stream": "all",
    "NUL": "article-1\0",
    "only NUL": "\0",
    "another newline": "article-1\n",
    "a number that is none in ASCII": "article-\N{ARABIC-INDIC DIGIT ONE}",
    "a number that no database holds": "article-" + "9" * 240,
    "emoji": "\N{PILE OF POO}" * 60,
    "right to left": "\N{RIGHT-TO-LEFT OVERRIDE}1-elcitra",
    "percent": "article-%31",
    "SQL": "article-1' OR '1'='1",
    "255 characters": "x" * 255,
}
UNUSABLE: Final = {
    "empty": "",
    "300 characters": "x" * 300,
    "a lone surrogate": "\ud800",
}


async def test_a_topic_that_may_not_be_heard_is_denied_and_never_bound(
    target: Target, victim: Node, alice: Person
) -> None:
    token = target.token(alice)
    # All of them in AUTH, then again one by one: the answer is the same for what is forbidden and what is not there.
    tab = await Tab.open(victim.websocket, token, topics=[*DENIED.values(), "article-1"])
    assert tab.auth_ok is not None
    verdicts = {
        stream["topic"]: stream["state"] for stream in tab.auth_ok["data"]["streams"].values() if "topic" in stream
    }
    assert verdicts == dict.fromkeys(DENIED.values(), "denied") | {"article-1": "new"}
    for name in DENIED.values():
        tab.control.clear()
        await tab.send({"id": "SUBSCRIBE", "data": {"topic": name}})
        answer = await tab.wait_for_control("SUBSCRIBED")
        assert answer["data"] == answer["data"] | {"topic": name, "state": "denied", "epoch": None, "seq": 0}

    keys = target.bindings()
    assert {key for key in keys if key.startswith("topic.")} == {"topic.article-1"}
    assert keys <= {"all", "control", "topic.article-1"} | {key for key in keys if key.startswith("user.")}
    assert f"user.{claims_of(token)['sub']}" in keys
    assert not {key for key in keys if set("*#") & set(key)}
    await tab.close()


@pytest.mark.parametrize("name", UNUSABLE.values(), ids=UNUSABLE)
async def test_what_can_be_no_name_is_an_error(target: Target, victim: Node, alice: Person, name: str) -> None:
    tab = await Tab.open(victim.websocket, target.token(alice))
    await tab.send({"id": "SUBSCRIBE", "data": {"topic": name, "ref": 7}})
    error = await tab.wait_for_control("ERROR")
    assert (error["data"]["code"], error["data"]["ref"]) == ("bad_topic", 7)
    await tab.close()


async def test_topics_come_after_authentication(victim: Node) -> None:
    tab = await Tab.connect(victim.websocket)
    await tab.wait_for_control("AUTH REQUEST")
    for frame_id in ("SUBSCRIBE", "UNSUBSCRIBE"):
        tab.control.clear()
        await tab.send({"id": frame_id, "data": {"topic": "article-1"}})
        error = await tab.wait_for_control("ERROR")
        assert error["data"]["code"] == "not_authenticated"
    await tab.close()


async def test_a_denied_topics_events_stay_away(target: Target, victim: Node, alice: Person) -> None:
    tab = await Tab.open(victim.websocket, target.token(alice), topics=["salaries", "article-1"])
    with target.publisher() as publisher:
        for key in ("topic.salaries", "topic.article-2", "topic.article-1"):
            publisher.publish(key, f'{{"id": "{key}", "data": null}}'.encode())
    await tab.wait_for_event("topic.article-1")
    assert tab.ids == ["topic.article-1"]
    await tab.close()
