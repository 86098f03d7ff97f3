"""Two nodes of one site that many tests share (docs/stack.md)."""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.services.rigs.people import Person
from tests.services.rigs.site import Node
from tests.services.rigs.target import Target


@dataclass(frozen=True)
class Pair:
    """Two nodes on one broker and one database. What a test leaves there meets the next one, as in life."""

    target: Target
    nodes: list[Node]
    _numbers: Iterator[int]

    def newcomer(self) -> tuple[str, Person]:
        """The id of somebody who has no history yet, and who signed in through the first node."""
        name = f"newcomer-{next(self._numbers)}"
        person = self.target.person(self.nodes[0], name)
        [user_id] = self.target.sql(f"SELECT id FROM auth_user WHERE username = '{name}'")
        return user_id, person
