"""From a call in the project's code to an event that leaves the process (docs/publishing.md)."""
