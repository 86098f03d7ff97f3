"""The JSON Web Token that opens a socket (docs/tokens.md; RFC 7519, RFC 8725).

PyJWT checks the signature, the audience and the issuer. What it does not check is checked here: the token's type, its
longest life, and times against a clock that the caller hands over.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import jwt

from .conf import TOKEN_LIFE_MAX_SECS, realtime_settings

ALGORITHM: Final = "HS256"
AUDIENCE: Final = "realtime"
ISSUER: Final = "message-flow"
TYPE: Final = "realtime+jwt"
# Ours have under 500 characters with a 150 character username; longer ones are not worth a signature check.
TOKEN_MAX_CHARS: Final = 4096
# Clocks of the machines of one site; NTP keeps them within a second.
LEEWAY_SECS: Final = 10.0


class TokenRefused(Exception):
    """The token opens nothing. The reason is for the log; the client is told the same text for all."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it is handed to a browser; `expires_at` is unix seconds."""

    text: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says.

    Attributes:
        user_id: primary key as text.
        username: for people.
        mark: of the sign-in; empty for a client without a session.
        password: digest that ends with the user's password.
        expires_at: unix seconds.
    """

    user_id: str
    username: str
    mark: str
    password: str
    expires_at: float


def issue_token(*, user_id: str, username: str, mark: str, password: str, now: float) -> Token:
    """Sign a token for a user; `now` is unix seconds."""
    conf = realtime_settings()
    expires_at = now + conf.token_life_secs
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": user_id,
        "username": username,
        "mark": mark,
        "pwd": password,
        "iat": now,
        "exp": expires_at,
    }
    text = jwt.encode(claims, conf.secrets[0], algorithm=ALGORITHM, headers={"typ": TYPE})
    return Token(text, expires_at)


def verify_token(text: str, now: float) -> Claims:
    """Check everything that can be checked without the database; `now` is unix seconds.

    Raises:
        TokenRefused: anything at all is wrong with it.
    """
    if len(text) > TOKEN_MAX_CHARS:
        raise TokenRefused("too long")
    header, claims = _decode(text)
    if header.get("typ") != TYPE:
        raise TokenRefused("not a realtime token")
    issued_at, expires_at = _time(claims, "iat"), _time(claims, "exp")
    if expires_at <= now:
        raise TokenRefused("expired")
    if issued_at > now + LEEWAY_SECS or ("nbf" in claims and _time(claims, "nbf") > now + LEEWAY_SECS):
        raise TokenRefused("not valid yet")
    if expires_at - issued_at > TOKEN_LIFE_MAX_SECS or expires_at > now + TOKEN_LIFE_MAX_SECS + LEEWAY_SECS:
        raise TokenRefused("lives too long")
    user_id, username, mark, password = claims["sub"], claims.get("username", ""), claims["mark"], claims["pwd"]
    if not user_id or not all(isinstance(text, str) for text in (user_id, username, mark, password)):
        raise TokenRefused("names nobody")
    return Claims(user_id, username, mark, password, expires_at)


def _decode(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    refusal: Exception | None = None
    # Every key is tried: a key that the token's header could choose would be the attacker's choice (RFC 8725, 3.10).
    for secret in realtime_settings().secrets:
        try:
            decoded = jwt.decode_complete(
                text,
                secret,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                issuer=ISSUER,
                options={
                    "require": ["iss", "aud", "sub", "mark", "pwd", "iat", "exp"],
                    "strict_aud": True,
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            refusal = error
        else:
            return decoded["header"], decoded["payload"]
    raise TokenRefused(type(refusal).__name__) from refusal


def _time(claims: dict[str, Any], name: str) -> float:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenRefused(f"{name} is no number")
    try:
        seconds = float(value)
    except OverflowError as error:
        raise TokenRefused(f"{name} is out of range") from error
    if not math.isfinite(seconds):
        raise TokenRefused(f"{name} is not finite")
    return seconds
