"""A process that is killed at one of its statements."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import OperationalError, connection


@contextmanager
def killed_at(statement: int | None) -> Iterator[None]:
    """The connection fails at its n-th statement in this block; None: at none.

    Raises:
        OperationalError: there.
    """
    statements = 0

    def count(execute: Any, *args: Any) -> Any:
        nonlocal statements
        statements += 1
        if statements == statement:
            raise OperationalError("killed")
        return execute(*args)

    with connection.execute_wrapper(count):
        yield
