"""What each peer runs: its server, and how another process sends to it (docs/performance.md)."""
