"""What a user has been told, and has read (docs/inbox.md)."""
