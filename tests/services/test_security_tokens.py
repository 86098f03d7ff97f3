"""Which tokens open a socket, tried over sockets (docs/security.md, docs/tokens.md)."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any, Final

import jwt
import pytest

from apps.realtime.tokens import AUDIENCE, ISSUER, TYPE
from tests.services.rigs.clients import Dialect, Tab
from tests.services.rigs.people import Person
from tests.services.rigs.site import PASSWORD, SECRETS, Node
from tests.services.rigs.target import Target, claims_of

pytest_plugins = ["tests.services.rigs.attacked"]
pytestmark = pytest.mark.usefixtures("healthy_afterwards")

AUTH_FAILED, REVOKED, AUTH_TIMEOUT = 4501, 4503, 4003

KEY: Final = SECRETS["REALTIME_SECRET"]
YEAR_3000: Final = 32_503_680_000

Claims = dict[str, Any]


def sign(claims: Claims, key: str = KEY, algorithm: str = "HS256", **headers: Any) -> str:
    """A token with these claims and headers; with ours unless told otherwise."""
    return jwt.encode(claims, key, algorithm=algorithm, headers={"typ": TYPE, **headers})


def without(claims: Claims, name: str) -> Claims:
    """The claims without one of them."""
    return {key: value for key, value in claims.items() if key != name}


# Each gets the claims of a token that is good, and the time.
FORGERIES: Final[dict[str, Callable[[Claims, float], str]]] = {
    "expired": lambda claims, now: sign(claims | {"iat": now - 600, "exp": now - 1}),
    "never expires": lambda claims, now: sign(without(claims, "exp")),
    "year 3000": lambda claims, now: sign(claims | {"exp": YEAR_3000}),
    "year 3000, issued then": lambda claims, now: sign(claims | {"iat": YEAR_3000 - 60, "exp": YEAR_3000}),
    "not valid yet": lambda claims, now: sign(claims | {"nbf": now + 600}),
    "infinite": lambda claims, now: sign(claims | {"exp": float("inf")}),
    "no number": lambda claims, now: sign(claims | {"iat": "now"}),
    "another audience": lambda claims, now: sign(claims | {"aud": "api"}),
    "ours among other audiences": lambda claims, now: sign(claims | {"aud": ["api", AUDIENCE]}),
    "another issuer": lambda claims, now: sign(claims | {"iss": ISSUER + ".evil.example"}),
    "no issuer": lambda claims, now: sign(without(claims, "iss")),
    "another type": lambda claims, now: sign(claims, typ="JWT"),
    "no type": lambda claims, now: sign(claims, typ=None),
    "unknown critical header": lambda claims, now: sign(claims, crit=["x"], x=1),
    "no signature": lambda claims, now: sign(claims, "", "none"),
    "signature cut off": lambda claims, now: sign(claims).rpartition(".")[0] + ".",
    "another algorithm with our key": lambda claims, now: sign(claims, KEY * 2, "HS512"),
    "another key": lambda claims, now: sign(claims, "k" * 64),
    "Django's key": lambda claims, now: sign(claims, SECRETS["SECRET_KEY"]),
    "a key of its own choice": lambda claims, now: sign(claims, "k" * 64, jwk={"kty": "oct", "k": "a2tr"}, kid="x"),
    "no subject": lambda claims, now: sign(without(claims, "sub")),
    "a number as subject": lambda claims, now: jwt.api_jws.encode(
        json.dumps(claims | {"sub": 1}).encode(), KEY, "HS256", {"typ": TYPE}
    ),
    "a pattern as subject": lambda claims, now: sign(claims | {"sub": "#"}),
    "a user who is not there": lambda claims, now: sign(claims | {"sub": "999999"}),
    "no mark": lambda claims, now: sign(without(claims, "mark")),
    "an unknown mark": lambda claims, now: sign(claims | {"mark": "0" * 32}),
    "a list of claims": lambda claims, now: jwt.api_jws.encode(b"[]", KEY, "HS256", {"typ": TYPE}),
    "deep claims": lambda claims, now: jwt.api_jws.encode(b"[" * 2_000, KEY, "HS256", {"typ": TYPE}),
    "too long": lambda claims, now: sign(claims | {"x": "x" * 8_000}),
    "no token": lambda claims, now: "no_auth_token_user bad_token",
    "emoji": lambda claims, now: "\N{PILE OF POO}" * 3,
    "dots": lambda claims, now: "..",
    "NUL": lambda claims, now: "\0",
}


async def transcript(node: Node, token: str, dialect: Dialect) -> tuple[int, list[Any]]:
    """What a socket is told that answers every request with this token, without the times; the close code first."""
    tab = await Tab.connect(node.websocket, token, dialect=dialect)
    code = await tab.wait_closed()
    await tab.close()
    for control in tab.control:
        control.get("data", {}).pop("by", None)
    return code, tab.control


async def assert_refused(node: Node, token: str) -> None:
    """AUTH FAILED three times, then 4501, in the same words whatever is wrong with the token."""
    seed, v1 = await asyncio.gather(transcript(node, token, "seed"), transcript(node, token, "v1"))
    assert seed == (AUTH_FAILED, [{"id": "AUTH REQUEST"}, {"id": "AUTH FAILED"}] * 3)
    requests = [{"reason": "connect" if attempt == 1 else "rejected", "attempt": attempt} for attempt in (1, 2, 3)]
    failures = [{"code": "token_refused", "final": final} for final in (False, False, True)]
    told = [
        frame
        for request, failure in zip(requests, failures, strict=True)
        for frame in ({"id": "AUTH REQUEST", "data": request}, {"id": "AUTH FAILED", "data": failure})
    ]
    assert v1 == (AUTH_FAILED, told)


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES)
async def test_a_forged_token_opens_nothing(
    target: Target, victim: Node, alice: Person, forge: Callable[[Claims, float], str]
) -> None:
    token = forge(claims_of(target.token(alice)), time.time())
    if len(token) > 10:
        target.tokens.add(token)
    await assert_refused(victim, token)


async def test_the_forger_would_succeed_with_the_right_claims(target: Target, victim: Node, alice: Person) -> None:
    tab = await Tab.open(victim.websocket, sign(claims_of(target.token(alice))))
    await tab.close()


async def test_the_session_cookie_is_no_token(victim: Node, alice: Person) -> None:
    await assert_refused(victim, alice.cookie("sessionid"))


async def test_a_mark_opens_the_door_of_its_own_user_only(target: Target, victim: Node, alice: Person) -> None:
    claims = claims_of(target.token(alice))
    other = claims_of(target.token(target.person(victim, "other")))
    await assert_refused(victim, sign(claims | {"mark": other["mark"]}))
    await assert_refused(victim, sign(other | {"mark": claims["mark"]}))


async def test_a_deactivated_user_is_refused(target: Target, victim: Node) -> None:
    token = target.token(target.person(victim, "fired"))
    target.sql("UPDATE auth_user SET is_active = false WHERE username = 'fired'")
    await assert_refused(victim, token)


async def test_a_deleted_user_is_refused(target: Target, victim: Node) -> None:
    person = target.person(victim, "gone")
    token = target.token(person)
    target.sql("DELETE FROM auth_user WHERE username = 'gone'")
    await assert_refused(victim, token)


async def test_a_token_dies_with_the_sign_out_and_others_of_the_user_live_on(target: Target, victim: Node) -> None:
    person, elsewhere = target.person(victim, "leaver"), target.person(victim, "leaver")
    token, other_token = target.token(person), target.token(elsewhere)
    person.post("/accounts/logout/")
    await assert_refused(victim, token)
    tab = await Tab.open(victim.websocket, other_token)
    await tab.close()


async def test_a_changed_password_ends_every_token_and_the_changer_gets_a_new_one(target: Target, victim: Node) -> None:
    person, elsewhere = target.person(victim, "changer"), target.person(victim, "changer")
    tokens = [target.token(person), target.token(elsewhere)]
    new = PASSWORD + "-2"
    person.post("/accounts/password_change/", {"old_password": PASSWORD, "new_password1": new, "new_password2": new})
    for token in tokens:
        await assert_refused(victim, token)
    assert elsewhere.get("/socket_auth_token").status == 401
    tab = await Tab.open(victim.websocket, target.token(person))
    await tab.close()


@pytest.mark.parametrize("dialect", ["seed", "v1"])
async def test_an_open_socket_never_changes_its_user(
    target: Target, victim: Node, alice: Person, dialect: Dialect
) -> None:
    tab = await Tab.open(victim.websocket, target.token(alice), dialect=dialect)
    await tab.send(target.token(target.person(victim, "other")))
    assert await tab.wait_closed() == REVOKED
    assert [frame["id"] for frame in tab.control] == ["AUTH REQUEST", "AUTH OK"]


async def test_a_token_in_the_address_or_a_cookie_is_ignored(target: Target, hurried: Node, alice: Person) -> None:
    token = target.token(alice)
    query = f"?token={token}&auth_token={token}&access_token={token}"
    cookies = {"Cookie": f"auth_token={token}; sessionid={alice.cookie('sessionid')}"}
    tab = await Tab.connect(hurried.websocket + query, headers={**cookies, "Authorization": f"Bearer {token}"})
    assert await tab.wait_closed() == AUTH_TIMEOUT
    assert [frame["id"] for frame in tab.control] == ["AUTH REQUEST"]
