"""The protocol without I/O: names, frames and the two session state machines (docs/protocol.md)."""
