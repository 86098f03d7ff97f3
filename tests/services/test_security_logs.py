"""No secret in a log, at its most talkative (docs/security.md)."""

import asyncio
from urllib.parse import quote

import pytest

from tests.services.rigs.clients import Dialect, Tab
from tests.services.rigs.people import Person
from tests.services.rigs.site import PASSWORD, SECRETS, Node
from tests.services.rigs.target import Target, request

pytest_plugins = ["tests.services.rigs.attacked"]

AUTH_FAILED = 4501


async def test_no_log_holds_a_token_a_key_or_a_password(target: Target) -> None:
    node = await asyncio.to_thread(target.site.node, {"LOG_LEVEL": "DEBUG"})
    person = await asyncio.to_thread(target.person, node, "alice")
    tokens: list[str] = []

    def token() -> str:
        tokens.append(target.token(person))
        return tokens[-1]

    dialects: tuple[Dialect, ...] = ("seed", "v1")
    for dialect in dialects:
        # Accepted, refreshed, of a stranger, in the address, refused, and in a frame that is none.
        tab = await Tab.open(f"{node.websocket}?token={token()}", token(), dialect=dialect)
        await tab.send(token())
        await tab.close()
        tokens.append(token().upper())
        tab = await Tab.connect(node.websocket, tokens[-1], dialect=dialect)
        assert await tab.wait_closed() == AUTH_FAILED
        tab = await Tab.connect(node.websocket, dialect=dialect)
        await tab.send({"id": token(), "data": token()})
        await tab.send({"id": "AUTH", "data": [token()]})
        await tab.close()
    with target.publisher() as publisher:
        publisher.publish("all", f'{{"id": "", "data": "{token()}"}}'.encode())
        publisher.publish("all", f'{{"data": "{token()}", "id": "x", "seq": 1}}'.encode())
    request(node, "/socket_auth_token", headers={"Authorization": f"Bearer {token()}"})
    await asyncio.to_thread(node.stop)

    log = node.process.log.read_text()
    assert "token refused" in log
    secrets = {*SECRETS.values(), PASSWORD, target.rabbitmq.password, target.postgres.password}
    assert person.cookie("sessionid") not in log
    assert not [secret for secret in (*tokens, *secrets) if secret in log]


@pytest.mark.parametrize("text", ["\nERROR root: forged", "\r\x1b[2J", "\u2028\u202e"])
def test_what_a_visitor_types_forges_no_line(victim: Node, text: str) -> None:
    person = Person(victim.http)
    person.get("/no/such/page" + quote(text))
    person.get("/accounts/login/")
    person.post("/accounts/login/", {"username": "nobody" + text, "password": "x"})
    log = victim.process.log.read_bytes().decode()
    assert "/no/such/page" in log
    assert "\nERROR root: forged" not in log
    assert not {"\r", "\x1b", "\u2028", "\u202e"} & set(log)
