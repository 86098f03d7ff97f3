"""How many sockets one address and one user may have on this node (docs/limits.md)."""

from collections import Counter
from enum import Enum, auto

from ..core.ratelimit import TokenBucket

# Ten seconds' worth of handshakes at once: an office that comes back after a network outage.
BURST_SECS = 10
# Forget addresses that have no socket and used no allowance, once there are this many and twice what was kept before.
_PRUNE_AT = 10_000


class Admission(Enum):
    """What the limits say to a new socket."""

    WELCOME = auto()
    TOO_FAST = auto()
    TOO_MANY = auto()


class Limits:
    """Counts of this node alone; nginx's are in front of it."""

    def __init__(self, *, per_user: int, per_address: int, connects_per_address_per_sec: float) -> None:
        self._per_user = per_user
        self._per_address = per_address
        self._connects_per_sec = connects_per_address_per_sec
        self._users: Counter[str] = Counter()
        self._addresses: Counter[str] = Counter()
        self._buckets: dict[str, TokenBucket] = {}
        self._prune_at = _PRUNE_AT

    def admit(self, address: str, now: float) -> Admission:
        """A handshake came from this address; a WELCOME is given back by `leave`."""
        bucket = self._buckets.get(address)
        if bucket is None:
            if len(self._buckets) >= self._prune_at:
                self._prune(now)
            bucket = self._buckets[address] = TokenBucket(
                per_sec=self._connects_per_sec, burst=max(1.0, self._connects_per_sec * BURST_SECS), now=now
            )
        if not bucket.take(now):
            return Admission.TOO_FAST
        if self._addresses[address] >= self._per_address:
            return Admission.TOO_MANY
        self._addresses[address] += 1
        return Admission.WELCOME

    def leave(self, address: str) -> None:
        """A socket of this address is gone."""
        _give_back(self._addresses, address)

    def admit_user(self, user_id: str) -> bool:
        """A socket authenticated as this user; True is given back by `leave_user`."""
        if self._users[user_id] >= self._per_user:
            return False
        self._users[user_id] += 1
        return True

    def leave_user(self, user_id: str) -> None:
        """An authenticated socket of this user is gone."""
        _give_back(self._users, user_id)

    def _prune(self, now: float) -> None:
        self._buckets = {
            address: bucket
            for address, bucket in self._buckets.items()
            if address in self._addresses or not bucket.is_full(now)
        }
        # Where nothing can be forgotten, looking again for each new address would cost more than it saves.
        self._prune_at = max(_PRUNE_AT, 2 * len(self._buckets))


def _give_back(counts: Counter[str], key: str) -> None:
    counts[key] -= 1
    if counts[key] <= 0:
        del counts[key]
