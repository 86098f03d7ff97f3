"""The token that every socket shows: the same claims and the same check everywhere (docs/performance.md)."""

import time
from typing import Final

import jwt

SECRET: Final = "key-of-the-bench-" + "x" * 40
_ISSUER: Final = "message-flow"
_AUDIENCE: Final = "realtime"


def issue(user: int) -> str:
    """A token with the claims of Message Flow's own, which checks its sign-in and its password in the database, too."""
    now = time.time()
    claims = {
        "iss": _ISSUER,
        "aud": _AUDIENCE,
        "sub": str(user),
        "username": f"user{user}",
        "mark": f"{user:032x}",
        "pwd": f"{user:032x}",
        "iat": now,
        "exp": now + 900,
    }
    return jwt.encode(claims, SECRET, algorithm="HS256", headers={"typ": "realtime+jwt"})


def user_of(token: str) -> str:
    """Whose token this is; raises `jwt.PyJWTError`."""
    claims = jwt.decode(
        token,
        SECRET,
        algorithms=["HS256"],
        audience=_AUDIENCE,
        issuer=_ISSUER,
        options={"require": ["iss", "aud", "sub", "mark", "pwd", "iat", "exp"]},
    )
    return str(claims["sub"])
