"""Long lists in parts that one statement, or one turn, can take."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def parts(rows: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The rows in their order, `size` at a time; the last part may be shorter."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
