"""The library's pages in the admin of the project (docs/admin.md)."""

# Each registers its page.
from . import events, sessions, streams  # noqa: F401
