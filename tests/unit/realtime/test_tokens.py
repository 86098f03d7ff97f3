"""Every attack on a token, and the rotation of keys (docs/tokens.md; docs/protocol.md, section 4)."""

import base64
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from django.contrib.sessions.backends.signed_cookies import SessionStore
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from apps.realtime.tokens import LEEWAY_SECS, TOKEN_MAX_CHARS, Claims, TokenRefused, issue_token, verify_token

KEY = "a-key-of-the-token-tests-" + "k" * 24
NOW = 1_800_000_000.0
CLAIMS: dict[str, Any] = {
    "iss": "message-flow",
    "aud": "realtime",
    "sub": "7",
    "username": "alice",
    "mark": "m" * 32,
    "pwd": "p" * 32,
    "iat": NOW,
    "exp": NOW + 900,
}
HEADER: dict[str, Any] = {"typ": "realtime+jwt"}


@pytest.fixture(autouse=True)
def key(settings: Settings) -> None:
    """One key that the tests know."""
    settings.REALTIME_SECRET = KEY


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(changes: dict[str, Any] | None = None, *, without: str = "", key: str = KEY, **header: Any) -> str:
    claims = {name: value for name, value in (CLAIMS | (changes or {})).items() if name != without}
    return jwt.encode(claims, key, algorithm="HS256", headers=HEADER | header)


def raw_signed(payload: bytes, header: bytes = b'{"alg":"HS256","typ":"realtime+jwt"}') -> str:
    """Signed with the right key over bytes that PyJWT itself would not write."""
    message = f"{b64(header)}.{b64(payload)}"
    mac = jwt.get_algorithm_by_name("HS256").sign(message.encode(), KEY.encode())
    return f"{message}.{b64(mac)}"


def unsigned(**header: Any) -> str:
    return f"{b64(json.dumps(HEADER | header).encode())}.{b64(json.dumps(CLAIMS).encode())}."


def with_claim_text(name: str, text: str) -> str:
    """A claim written as JSON text, for what Python's own encoder refuses."""
    payload = json.dumps({key: value for key, value in CLAIMS.items() if key != name})
    return raw_signed(f'{payload[:-1]}, "{name}": {text}}}'.encode())


def test_a_token_says_who_and_until_when() -> None:
    token = issue_token(user_id="7", username="alice", mark="m" * 32, password="p" * 32, now=NOW)
    assert token.expires_at == NOW + 900
    claims = verify_token(token.text, NOW)
    assert claims == Claims("7", "alice", mark="m" * 32, password="p" * 32, expires_at=NOW + 900)


def test_the_claims_and_the_header_are_the_protocols() -> None:
    text = issue_token(user_id="7", username="alice", mark="m" * 32, password="p" * 32, now=NOW).text
    assert jwt.get_unverified_header(text) == {"alg": "HS256", "typ": "realtime+jwt"}
    assert jwt.decode(text, options={"verify_signature": False}) == CLAIMS


def test_the_token_that_the_attacks_start_from_is_good() -> None:
    assert verify_token(signed(), NOW).user_id == "7"
    assert verify_token(raw_signed(json.dumps(CLAIMS).encode()), NOW).user_id == "7"
    assert verify_token(signed(without="username"), NOW).username == ""


ATTACKS: dict[str, Any] = {
    "alg none": lambda: unsigned(alg="none"),
    "alg None": lambda: unsigned(alg="None"),
    "no alg": lambda: unsigned(),
    "signature cut off": lambda: signed().rsplit(".", 1)[0] + ".",
    "signature of another token": lambda: signed().rsplit(".", 1)[0] + "." + signed({"sub": "8"}).rsplit(".", 1)[1],
    "HS512": lambda: jwt.encode(CLAIMS, KEY * 2, algorithm="HS512", headers=HEADER),
    "RS256": lambda: jwt.encode(CLAIMS, rsa.generate_private_key(65537, 2048), algorithm="RS256", headers=HEADER),
    "other key": lambda: signed(key="x" * 48),
    "Django's key": lambda: signed(key="django-key-of-the-tests-" + "x" * 40),
    "kid that names another key": lambda: signed(key="x" * 48, kid="../../dev/null"),
    "jwk in the header": lambda: signed(key="x" * 48, jwk={"kty": "oct", "k": b64(b"x" * 48)}),
    "jku in the header": lambda: signed(key="x" * 48, jku="https://evil.example/keys"),
    "unknown crit": lambda: signed(crit=["exp"], exp=1),
    "crit without its header": lambda: signed(crit=["b64"]),
    "crit that is no list": lambda: signed(crit="b64"),
    "detached payload": lambda: raw_signed(b"", b'{"alg":"HS256","typ":"realtime+jwt","b64":false,"crit":["b64"]}'),
    "expired": lambda: signed({"iat": NOW - 900, "exp": NOW}),
    "expired long ago": lambda: signed({"iat": 0, "exp": 900}),
    "iat in the future": lambda: signed({"iat": NOW + 60, "exp": NOW + 900}),
    "nbf in the future": lambda: signed({"nbf": NOW + 60}),
    "nbf is text": lambda: signed({"nbf": "now"}),
    "lives over 900 s": lambda: signed({"exp": NOW + 901}),
    "lives over 900 s from an old iat": lambda: signed({"iat": NOW - 800, "exp": NOW + 200}),
    "year 3000": lambda: signed({"exp": 32_503_680_000}),
    "year 3000 from the year 3000": lambda: signed({"iat": 32_503_679_900, "exp": 32_503_680_000}),
    "exp infinite": lambda: with_claim_text("exp", "Infinity"),
    "exp NaN": lambda: with_claim_text("exp", "NaN"),
    "exp 1e400": lambda: with_claim_text("exp", "1e400"),
    "exp of 400 digits": lambda: with_claim_text("exp", "9" * 400),
    "exp of 4000 digits": lambda: with_claim_text("exp", "9" * 2500),
    "exp true": lambda: signed({"exp": True}),
    "exp text": lambda: with_claim_text("exp", f'"{int(NOW) + 900}"'),
    "exp null": lambda: signed({"exp": None}),
    "exp list": lambda: with_claim_text("exp", "[1]"),
    "iat NaN": lambda: with_claim_text("iat", "NaN"),
    "iat true": lambda: signed({"iat": True}),
    "iat text": lambda: with_claim_text("iat", '"now"'),
    "iat -Infinity": lambda: with_claim_text("iat", "-Infinity"),
    **{
        f"no {name}": lambda name=name: signed(without=name)
        for name in ("iss", "aud", "sub", "mark", "pwd", "iat", "exp")
    },
    "wrong aud": lambda: signed({"aud": "other"}),
    "aud list with ours in it": lambda: signed({"aud": ["realtime", "other"]}),
    "aud list of ours": lambda: signed({"aud": ["realtime"]}),
    "aud empty": lambda: signed({"aud": ""}),
    "aud object": lambda: signed({"aud": {"realtime": 1}}),
    "wrong iss": lambda: signed({"iss": "evil"}),
    "iss list": lambda: raw_signed(json.dumps(CLAIMS | {"iss": ["message-flow"]}).encode()),
    "typ of another kind": lambda: signed(typ="at+jwt"),
    "typ JWT": lambda: signed(typ="JWT"),
    "typ in capitals": lambda: signed(typ="REALTIME+JWT"),
    "no typ": lambda: signed(typ=None),
    "typ list": lambda: raw_signed(json.dumps(CLAIMS).encode(), b'{"alg":"HS256","typ":["realtime+jwt"]}'),
    "sub a number": lambda: raw_signed(json.dumps(CLAIMS | {"sub": 7}).encode()),
    "sub null": lambda: signed({"sub": None}),
    "sub a list": lambda: raw_signed(json.dumps(CLAIMS | {"sub": ["7"]}).encode()),
    "sub empty": lambda: signed({"sub": ""}),
    "mark a number": lambda: signed({"mark": 5}),
    "pwd a number": lambda: signed({"pwd": 5}),
    "mark a list": lambda: signed({"mark": ["m"]}),
    "username a list": lambda: signed({"username": ["alice"]}),
    "payload no object": lambda: raw_signed(b"[1]"),
    "payload no JSON": lambda: raw_signed(b"\xff\xfe"),
    "payload deep": lambda: raw_signed(b"[" * 2_500),
    "header no object": lambda: raw_signed(json.dumps(CLAIMS).encode(), b'"HS256"'),
    "header deep": lambda: raw_signed(b"{}", b"[" * 2_500),
    "1 MB": lambda: signed({"username": "x" * 1_000_000}),
    "1 MB of dots": lambda: "." * 1_000_000,
    "1 MB deep": lambda: raw_signed(b"[" * 700_000),
    "empty": lambda: "",
    "dots": lambda: "..",
    "2016": lambda: "no_auth_token_user bad_token",
    "latin-1": lambda: "\xff\xfe.\xe9.\xdf",
    "lone surrogate": lambda: "\ud800.a.b",
    "emoji in a good token": lambda: signed() + "😀",
    "NUL in a good token": lambda: signed() + "\0",
    "newline before a good token": lambda: "\n" + signed(),
    "Bearer": lambda: "Bearer " + signed(),
    "a Django session cookie": lambda: _session_cookie(),
}


def _session_cookie() -> str:
    session = SessionStore()
    session["_auth_user_id"] = "7"
    session.save()
    return str(session.session_key)


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_an_attack_is_refused(attack: Any) -> None:
    with pytest.raises(TokenRefused) as caught:
        verify_token(attack(), NOW)
    # The reason goes to the log: never a piece of the token or of a key.
    assert len(str(caught.value)) < 60
    assert KEY not in str(caught.value)


@given(st.text(max_size=400) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_any_text_is_refused_and_nothing_else_happens(text: str) -> None:
    with pytest.raises(TokenRefused):
        verify_token(text, NOW)


@given(st.data())
def test_one_changed_character_is_refused(data: st.DataObject) -> None:
    text = signed()
    # The last character of a base64 group has unused bits: two texts may be one signature.
    place = data.draw(st.integers(0, len(text) - 2))
    other = data.draw(st.characters(exclude_characters=text[place]))
    with pytest.raises(TokenRefused):
        verify_token(text[:place] + other + text[place + 1 :], NOW)


def test_a_key_that_a_header_names_is_not_asked_for() -> None:
    assert verify_token(signed(kid="whatever"), NOW).user_id == "7"


def test_an_honest_token_fits_the_length_limit() -> None:
    token = issue_token(user_id="u" * 36, username="é" * 150, mark="m" * 32, password="p" * 32, now=NOW)
    assert len(token.text) < TOKEN_MAX_CHARS / 2


# Clocks ------------------------------------------------------------------------------------------


def test_a_token_is_good_to_its_last_moment_and_not_longer() -> None:
    verify_token(signed(), NOW + 899.9)
    with pytest.raises(TokenRefused):
        verify_token(signed(), NOW + 900)


def test_a_clock_of_another_machine_may_be_some_seconds_ahead() -> None:
    verify_token(signed(), NOW - LEEWAY_SECS)
    verify_token(signed({"nbf": NOW + LEEWAY_SECS}), NOW)
    with pytest.raises(TokenRefused):
        verify_token(signed(), NOW - LEEWAY_SECS - 1)


@pytest.mark.parametrize("jump_secs", [-3_600, 3_600])
def test_after_a_jump_of_the_clock_new_tokens_are_good_and_old_ones_are_not(jump_secs: float) -> None:
    old = signed()
    with pytest.raises(TokenRefused):
        verify_token(old, NOW + jump_secs)
    new = issue_token(user_id="7", username="alice", mark="m", password="p" * 32, now=NOW + jump_secs)
    assert verify_token(new.text, NOW + jump_secs).expires_at == NOW + jump_secs + 900


def test_the_life_is_the_settings(settings: Settings) -> None:
    settings.REALTIME_TOKEN_LIFE_SECS = 30
    assert issue_token(user_id="7", username="alice", mark="m", password="p" * 32, now=NOW).expires_at == NOW + 30


# Rotation ----------------------------------------------------------------------------------------


def test_during_a_rotation_the_old_key_is_accepted_and_the_new_one_signs(settings: Settings) -> None:
    old = issue_token(user_id="7", username="alice", mark="m", password="p" * 32, now=NOW).text
    settings.REALTIME_SECRET = ["n" * 48, KEY]
    new = issue_token(user_id="8", username="bob", mark="m", password="p" * 32, now=NOW).text
    assert verify_token(old, NOW).user_id == "7"
    assert verify_token(new, NOW).user_id == "8"
    settings.REALTIME_SECRET = ["n" * 48]
    assert verify_token(new, NOW).user_id == "8"
    with pytest.raises(TokenRefused):
        verify_token(old, NOW)


def test_with_several_keys_a_token_of_none_is_refused(settings: Settings) -> None:
    settings.REALTIME_SECRET = ["n" * 48, KEY]
    with pytest.raises(TokenRefused):
        verify_token(signed(key="x" * 48), NOW)


def test_an_attack_costs_little() -> None:
    started = time.perf_counter()
    for text in ("." * 1_000_000, "x" * 1_000_000):
        with pytest.raises(TokenRefused):
            verify_token(text, NOW)
    assert time.perf_counter() - started < 1
