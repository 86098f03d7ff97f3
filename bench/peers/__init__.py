"""Message Flow beside what people would pick instead, on the same work in one run (docs/performance.md)."""
