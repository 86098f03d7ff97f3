"""The dialect of the 2016 pattern: a client that offers no subprotocol (docs/protocol.md, "seed").

It knows AUTH REQUEST, raw tokens, AUTH OK, AUTH FAILED and the heartbeat, and hands every other frame to the page: so
nothing else is ever sent to it.
"""

import json
from collections.abc import Mapping
from typing import Final

from .actions import Action, Send
from .codes import AUTH_FAILED, AUTH_OK, AUTH_REQUEST, AuthReason, CloseCode, ErrorCode
from .names import Stream
from .resume import Verdict
from .session import Instant, Session

_AUTH_REQUEST: Final = Send(json.dumps({"id": AUTH_REQUEST}))
_AUTH_OK: Final = Send(json.dumps({"id": AUTH_OK}))
_AUTH_FAILED: Final = Send(json.dumps({"id": AUTH_FAILED}))


def is_json(text: str) -> bool:
    """Whether a client text is JSON or set out to be, and so no raw token (protocol.md, section 2).

    A token never begins with a bracket. The parser is not asked there: how it gives up on deep nesting depends on
    Python's version.
    """
    if text.lstrip().startswith(("{", "[")):
        return True
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


class SeedSession(Session):
    """One socket of a 2016 page: live only, no topics, no errors told."""

    _echoes_heartbeat = False
    _acknowledges = False

    def _frame_received(self, now: Instant, text: str) -> list[Action]:
        # A seed client sends nothing but raw tokens.
        if not self._take_frame(now) or is_json(text):
            return self.close(CloseCode.PROTOCOL_VIOLATION)
        return self._token_received(text)

    def _auth_request(self, reason: AuthReason, by: float) -> Send:
        return _AUTH_REQUEST

    def _auth_ok(self, now: Instant, topics: Mapping[str, Stream | None], verdicts: Mapping[Stream, Verdict]) -> Send:
        return _AUTH_OK

    def _auth_failed(self, *, final: bool) -> Send:
        return _AUTH_FAILED

    def _violation(self, code: ErrorCode, message: str) -> list[Action]:
        return self.close(CloseCode.PROTOCOL_VIOLATION)

    def reconnect(self, code: CloseCode, after_ms: int, reason: str) -> list[Action]:
        return self.close(code)
