"""Tells a durable event that we numbered from one that somebody else put on the exchange (docs/protocol.md, section 3).

Whoever may write to the exchange may send ephemeral events. A forged seq would do more: the true event of that number
would be taken for a copy and never shown.
"""

from collections.abc import Sequence
from hashlib import blake2b
from hmac import compare_digest
from typing import Final

# RFC 7693 lets a keyed BLAKE2b stand for a MAC. 128 bits cannot be guessed, and 32 characters are a small header.
_MAC_BYTES: Final = 16
# One secret, several uses: a token's signature can never be one of these.
_PURPOSE: Final = b"durable event"


class Signer:
    """Signs with the first of the secrets and believes all of them, so that they can be rotated."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._keys = [blake2b(secret.encode(), person=_PURPOSE, digest_size=32).digest() for secret in secrets]

    def sign(self, epoch: str, body: bytes) -> str:
        """The header `sig` for a body, whose text holds stream and seq already."""
        return _mac(self._keys[0], epoch, body)

    def is_genuine(self, epoch: str, body: bytes, signature: str) -> bool:
        """Whether `signature` belongs to this epoch and body."""
        claimed = signature.encode(errors="replace")
        return any(compare_digest(_mac(key, epoch, body).encode(), claimed) for key in self._keys)


def _mac(key: bytes, epoch: str, body: bytes) -> str:
    mac = blake2b(epoch.encode(errors="replace"), key=key, digest_size=_MAC_BYTES)
    mac.update(b"\0")
    mac.update(body)
    return mac.hexdigest()
