"""What the doctor sends, and where to, when no user is meant (docs/doctor.md)."""

from typing import Final

from ...core.names import Stream

PROBE_ID: Final = "doctor/PROBE"
# Nobody's: an id or name never becomes this one, as `~` of its own is escaped (core/names.py). Of the form of a user's,
# so that patterns of permissions and routing take it for one.
PROBE_STREAM: Final = Stream("user.~doctor")
